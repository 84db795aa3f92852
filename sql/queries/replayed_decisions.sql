-- Standing decisions of one decider over a span of sessions, both ends included, that were made afterwards and that the
-- feedback ledger did not take: nobody can have acted on them in time, and no training rests on them. The decider is a
-- model version, or 'baseline'.
-- returns: session timestamp, ticker text, track text
SELECT decision.session, decision.ticker, decision.track
FROM trade_decisions AS decision
WHERE decision.session BETWEEN :first AND :last
    AND decision.decided_by = :decided_by
    AND decision.timing = 'afterwards'
    AND decision.withdrawn_at IS NULL
    AND NOT EXISTS (
        SELECT 1 FROM feedback_ledger AS taken
        WHERE taken.session = decision.session AND taken.ticker = decision.ticker
            AND (decision.model_version IS NULL OR taken.model_version = decision.model_version)
    )
ORDER BY decision.session, decision.ticker, decision.track;
