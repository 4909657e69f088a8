"""The work behind ``avemo bench``: where stage 1 spends its time on this machine and these clips."""
