"""Ways to remove a user from three services' databases. ``registry`` lists them."""
