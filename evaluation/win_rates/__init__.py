"""Win rates from judgements, each with an interval over prompts; pure, no judge is asked here."""
