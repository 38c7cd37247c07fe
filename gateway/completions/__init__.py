"""OpenAI's API in front of engines that take and give token ids: requests to calls, ids to answers."""
