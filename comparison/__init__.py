"""Many runs side by side: leaderboards, plots and one page, under one protocol per ranking."""
