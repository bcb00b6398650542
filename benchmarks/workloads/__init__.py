"""What is measured: each module has ``runs(options)``, which yields one ``Run`` after the other."""
