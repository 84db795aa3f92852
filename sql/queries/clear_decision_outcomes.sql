-- Remove the outcomes of a span of entry sessions, both ends included, before they are written anew.
DELETE FROM decision_outcomes WHERE session BETWEEN :first AND :last;
