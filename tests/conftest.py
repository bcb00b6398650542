"""For all tests: what installation they are is settled before anything reads it."""

from tests import installation as installation
