"""The web page in which trained runs are used: what it shows, takes and refuses."""
