"""The work behind ``avemo bench``: finds where stage 1 spends its time on this machine and these clips."""
