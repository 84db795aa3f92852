-- The database keeps what a decision said itself, so that no writer can forget it, and lets none go that was made at the
-- time. A writer that does not say when it changed one gets the time it is.
CREATE FUNCTION keep_superseded_decision() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    INSERT INTO decision_revisions (
        session, ticker, track, decided_by, superseded_at, said_since, withdrawn_reason, timing, route, rank, selected,
        passes_document_gate, passes_gate, p0, p1, p2, p3, expected_roi_document, expected_roi_training,
        threshold_document, threshold_chosen, total_score, blend_score, calibration_version, training_content,
        analysis_content, bars_content, reason
    ) VALUES (
        OLD.session, OLD.ticker, OLD.track, OLD.decided_by, COALESCE(
            NEW.withdrawn_at, CASE WHEN NEW.revised_at IS DISTINCT FROM OLD.revised_at THEN NEW.revised_at END,
            now() AT TIME ZONE ''UTC''
        ),
        COALESCE(OLD.revised_at, OLD.decided_at), NEW.withdrawn_reason, OLD.timing, OLD.route, OLD.rank, OLD.selected,
        OLD.passes_document_gate, OLD.passes_gate, OLD.p0, OLD.p1, OLD.p2, OLD.p3, OLD.expected_roi_document,
        OLD.expected_roi_training, OLD.threshold_document, OLD.threshold_chosen, OLD.total_score, OLD.blend_score,
        OLD.calibration_version, OLD.training_content, OLD.analysis_content, OLD.bars_content, OLD.reason
    );
    RETURN NEW;
END';

CREATE TRIGGER keep_superseded_decision
BEFORE UPDATE ON trade_decisions
FOR EACH ROW
WHEN (
    OLD.withdrawn_at IS NULL AND OLD.timing IS DISTINCT FROM 'afterwards'
    AND (
        NEW.withdrawn_at IS NOT NULL
        OR NEW.revised_at IS DISTINCT FROM OLD.revised_at
        OR (OLD.decided_by <> 'baseline' AND NEW.route <> OLD.route)
        OR (
            NEW.rank, NEW.selected, NEW.passes_document_gate, NEW.passes_gate, NEW.p0, NEW.p1, NEW.p2, NEW.p3,
            NEW.expected_roi_document, NEW.expected_roi_training, NEW.threshold_document, NEW.threshold_chosen,
            NEW.total_score, NEW.blend_score, NEW.reason
        ) IS DISTINCT FROM (
            OLD.rank, OLD.selected, OLD.passes_document_gate, OLD.passes_gate, OLD.p0, OLD.p1, OLD.p2, OLD.p3,
            OLD.expected_roi_document, OLD.expected_roi_training, OLD.threshold_document, OLD.threshold_chosen,
            OLD.total_score, OLD.blend_score, OLD.reason
        )
    )
)
EXECUTE FUNCTION keep_superseded_decision();

CREATE FUNCTION refuse_to_forget_decision() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    RAISE EXCEPTION ''decisions made at the time are withdrawn, never deleted'';
END';

CREATE TRIGGER refuse_to_forget_decision
BEFORE DELETE ON trade_decisions
FOR EACH ROW
WHEN (OLD.timing IS DISTINCT FROM 'afterwards')
EXECUTE FUNCTION refuse_to_forget_decision();
