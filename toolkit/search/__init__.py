"""Many nets and files tried for the best one: `compress` under limits, `sweep` over combinations.

How one net is trained, converted or timed is not here; the rooms of these commands are called.
"""
