"""The segment pipeline of priyasad2019, and its tables."""
