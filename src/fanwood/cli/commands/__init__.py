"""What each command takes, and says of itself: so much is read for its help, and no more."""
