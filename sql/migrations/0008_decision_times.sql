-- When a decision was written, whether that was in time to trade on it, and what became of it since.
-- No query of the project removes a decision: what rests on data that was taken back is withdrawn and stays.
-- Of decisions from before this migration decided_at and timing are NULL: not known.
-- naive UTC, when the row was first written; never changed
ALTER TABLE trade_decisions ADD COLUMN decided_at TIMESTAMP;
-- Of decided_at: before the session's close and settling time, from there to before the next session's open, or later
-- (a replay), never changed.
ALTER TABLE trade_decisions ADD COLUMN timing TEXT
    CHECK (timing IN ('early', 'in_time', 'afterwards'))
    CHECK ((timing IS NULL) = (decided_at IS NULL));
-- selected as first written, or as it stood at this migration, never changed.
ALTER TABLE trade_decisions ADD COLUMN first_selected INTEGER CHECK (first_selected IN (0, 1));
-- Naive UTC, when a correction last changed what the row says, or brought it back, NULL: it says what it said at first.
ALTER TABLE trade_decisions ADD COLUMN revised_at TIMESTAMP;
-- Naive UTC, NULL: it stands. What is withdrawn is neither selected nor ranked, its figures and reason are the last ones.
ALTER TABLE trade_decisions ADD COLUMN withdrawn_at TIMESTAMP
    CHECK (withdrawn_at IS NULL OR (selected = 0 AND rank IS NULL));
ALTER TABLE trade_decisions ADD COLUMN withdrawn_reason TEXT
    CHECK ((withdrawn_reason IS NULL) = (withdrawn_at IS NULL));

UPDATE trade_decisions SET first_selected = selected;
