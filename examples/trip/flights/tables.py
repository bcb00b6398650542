"""The tables of the flights service, and one small aeroplane."""

TABLES = """
CREATE TABLE IF NOT EXISTS flights (
    number text PRIMARY KEY,
    seats integer NOT NULL,
    sold integer NOT NULL DEFAULT 0,
    CHECK (sold BETWEEN 0 AND seats)
);
CREATE TABLE IF NOT EXISTS tickets (
    trip uuid PRIMARY KEY,
    flight text NOT NULL REFERENCES flights,
    seat integer NOT NULL,
    UNIQUE (flight, seat)
);
INSERT INTO flights (number, seats) VALUES ('TP931', 3) ON CONFLICT DO NOTHING;
"""
