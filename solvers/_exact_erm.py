ExactERM=exact_erm=None
