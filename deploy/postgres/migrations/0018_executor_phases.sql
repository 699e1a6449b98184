-- How many phases of a plan were committed: a plan is closed at once only if none was added since it was looked at.
ALTER TABLE executor.plans ADD COLUMN phases integer NOT NULL DEFAULT 0 CHECK (phases >= 0);
UPDATE executor.plans p SET phases = (SELECT count(DISTINCT o.round) FROM executor.orders o WHERE o.plan_id = p.plan_id)
WHERE outcome IS NULL;
