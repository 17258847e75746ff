"""Clusters judged without a truth: can the odd one out be told of two images of a cluster and one of another?

Chang et al. (2009, "Reading Tea Leaves", NeurIPS 22) ask people for intruders among the words of a topic; here a model
is asked, about captions.
"""
