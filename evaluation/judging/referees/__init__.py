"""What a judge is asked in each benchmark, and how its replies count."""
