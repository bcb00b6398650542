"""The tables of the bank, and two customers of the agency: one with money, one without."""

TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    name text PRIMARY KEY,
    balance integer NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS payments (
    trip uuid PRIMARY KEY,
    account text NOT NULL REFERENCES accounts,
    amount integer NOT NULL CHECK (amount > 0)
);
INSERT INTO accounts VALUES ('ada', 1000), ('bob', 100) ON CONFLICT DO NOTHING;
"""
