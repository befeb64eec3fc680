# One door for checks: the same steps as the gate.

# Everything that .ci/run does
check:
    .ci/run

# Some of its steps, such as: just only format lint tests
only +steps:
    .ci/run {{steps}}
