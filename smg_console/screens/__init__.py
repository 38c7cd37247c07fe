"""What the console shows: the fleet, one worker, and the dialogs that ask before something happens."""
