"""Golden values of tests/data/transform_test.cpp: TF-IDF rows of six texts by scikit-learn.

Buckets of a hash differ from scikit-learn's columns, so the test compares each row's non-zero values in ascending order.
Token pattern: every run of word characters, as in include/redoubt/data/text.hpp. Run: python tfidf.py
"""
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer

texts = [
    "Great phone, great battery!",
    "The battery died after two days. Terrible battery.",
    "Arrived late; the box was open",
    "great box",
    "Schöne Grüße aus Köln, schöne Tasche",
    "the phone arrived after two days",
]

print("scikit-learn", sklearn.__version__)
rows = TfidfVectorizer(token_pattern=r"(?u)\w+", ngram_range=(1, 2)).fit_transform(texts)
for i in range(rows.shape[0]):
    print("{" + ", ".join(f"{v:.9f}" for v in sorted(rows[i].data)) + "},")
