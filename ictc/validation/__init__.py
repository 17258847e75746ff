"""What people say of a sample of a run: how far they agree with the model, and shares corrected for its errors.

Knows exported results, the sample and what coders said of it; knows nothing of HTML, journals or engines.
"""
