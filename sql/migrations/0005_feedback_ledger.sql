-- Trades that were taken and whose outcome came to be known, as the training set takes them up: each once, for ever.
-- Append-only: no query of the project updates or deletes a row. All rows of one take are written together.
CREATE TABLE feedback_ledger (
    session            TIMESTAMP NOT NULL, -- midnight of its date
    ticker             TEXT NOT NULL,
    take               INTEGER NOT NULL CHECK (take > 0), -- 1, 2, 3 ...: which act of taking wrote the row
    taken_at           TIMESTAMP NOT NULL, -- naive UTC, the same for all rows of a take
    known_until        TIMESTAMP NOT NULL, -- outcomes up to this session were looked at; no later take looks there again
    evaluation_session TIMESTAMP NOT NULL,
    tracks             TEXT NOT NULL,      -- tracks that took the trade, in alphabetical order, separated by commas
    route              TEXT NOT NULL CHECK (route IN ('champion', 'challenger')),
    model_version      TEXT NOT NULL,      -- model that decided
    roi_net            DOUBLE PRECISION NOT NULL, -- ratio, after costs, as it was known when taken
    content            TEXT NOT NULL,      -- hash of all rows of the take, the same in each of them
    PRIMARY KEY (session, ticker),
    CHECK (evaluation_session > session),
    CHECK (known_until >= evaluation_session)
);

CREATE INDEX feedback_ledger_take ON feedback_ledger (take);
