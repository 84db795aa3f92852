-- Write what became of analysed butterflies; an outcome that exists is replaced.
-- key: session, ticker
INSERT INTO decision_outcomes (session, ticker, evaluation_session, roi_mark, roi_net, label)
VALUES (:session, :ticker, :evaluation_session, :roi_mark, :roi_net, CAST(:label AS INTEGER))
ON CONFLICT (session, ticker) DO UPDATE SET
    evaluation_session = excluded.evaluation_session,
    roi_mark = excluded.roi_mark,
    roi_net = excluded.roi_net,
    label = excluded.label;
