-- Remove the analyses of a span of sessions, both ends included, before they are written anew.
DELETE FROM daily_metrics WHERE time BETWEEN :first AND :last;
