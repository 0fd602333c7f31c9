"""One experiment each, without parsing of arguments."""
