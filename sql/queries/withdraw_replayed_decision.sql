-- Withdraw one standing decision that was made afterwards. The decider is a model version, or 'baseline'.
UPDATE trade_decisions
SET withdrawn_at = :withdrawn_at, withdrawn_reason = :withdrawn_reason, selected = 0, rank = NULL
WHERE session = :session AND ticker = :ticker AND track = :track AND decided_by = :decided_by
    AND timing = 'afterwards' AND withdrawn_at IS NULL;
