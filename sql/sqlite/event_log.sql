-- Session settings of Dagster's event log. With a write-ahead log a process that dies loses nothing by this. A power failure may
-- take the newest events, which are no more than a report: the truth lies in the lake.
PRAGMA synchronous = NORMAL;
