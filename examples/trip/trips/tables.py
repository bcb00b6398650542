"""The tables of the trips service, and the one offer of the agency."""

TABLES = """
CREATE TABLE IF NOT EXISTS offers (
    name text PRIMARY KEY,
    flight text NOT NULL,
    hotel text NOT NULL,
    night date NOT NULL,
    price integer NOT NULL CHECK (price > 0)
);
CREATE TABLE IF NOT EXISTS trips (
    id uuid PRIMARY KEY,
    account text NOT NULL,
    offer text NOT NULL REFERENCES offers,
    state text NOT NULL CHECK (state IN ('booking', 'booked', 'refused')),
    seat integer,
    room integer
);
INSERT INTO offers VALUES ('lisbon', 'TP931', 'Chiado', '2031-05-04', 450) ON CONFLICT DO NOTHING;
"""
