"""The control API: SMG's routes and JSON, with what SMG does not tell, over aiohttp handlers."""
