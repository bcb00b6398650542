"""The tables of the hotels service, and one night in a small house."""

TABLES = """
CREATE TABLE IF NOT EXISTS nights (
    hotel text,
    night date,
    rooms integer NOT NULL,
    taken integer NOT NULL DEFAULT 0,
    CHECK (taken BETWEEN 0 AND rooms),
    PRIMARY KEY (hotel, night)
);
CREATE TABLE IF NOT EXISTS stays (
    trip uuid PRIMARY KEY,
    hotel text NOT NULL,
    night date NOT NULL,
    room integer NOT NULL,
    UNIQUE (hotel, night, room),
    FOREIGN KEY (hotel, night) REFERENCES nights
);
INSERT INTO nights (hotel, night, rooms) VALUES ('Chiado', '2031-05-04', 2) ON CONFLICT DO NOTHING;
"""
