"""What travels between coordinator and participants, and how it is read."""
