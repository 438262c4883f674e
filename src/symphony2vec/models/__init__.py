"""The models: each folder holds networks, losses, a learner and the stage that trains it."""
