-- Withdraw every standing decision about one butterfly, on all tracks and by all models.
UPDATE trade_decisions
SET withdrawn_at = :withdrawn_at, withdrawn_reason = :withdrawn_reason, selected = 0, rank = NULL
WHERE session = :session AND ticker = :ticker AND withdrawn_at IS NULL;
