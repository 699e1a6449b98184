"""The door for people and programs: HTTP in, commands and views behind it."""
