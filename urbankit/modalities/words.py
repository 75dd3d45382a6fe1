"""Captions as a modality without learning: principal components of the TF-IDF of their words."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, captions
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.utils.errors import Problem, UserError


class Words(FeatureEncoder):
    """Leading components (latent semantic analysis) of the TF-IDF of all captions of a region, read as one text.

    They are computed from the captions of all regions, without any label. Regions without a caption are absent.
    Captions of which no two regions share a word are a `UserError`.
    """

    class Params(FeatureParams):
        components: int = Field(32, ge=1, description="Maximum number of components.")
        source: str | None = Field(None, description="Read only captions of this image source; default all captions.")

    params: Params

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        requested = city.caption_sources if params.source is None else [params.source]
        return None if requested and set(requested) <= set(city.caption_sources) else "the city has no such captions"

    @classmethod
    def untransferable(cls, params: Any) -> str | None:
        return "its components are of one city's captions; `text` stores its tokenizer with its weights"

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return captions(city, params.source)

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        sources = city.caption_sources if self.params.source is None else [self.params.source]
        texts: dict[int, str] = {}
        for source in sources:
            joined = city.captions(source).groupby("region")["text"].agg(" ".join)
            regions = joined.index.to_numpy(np.int64).tolist()
            texts |= {i: f"{texts.get(i, '')} {text}" for i, text in zip(regions, joined, strict=True)}
        region = np.array(sorted(texts), dtype=np.int64)
        tfidf = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), max_features=5000)
        try:
            weights = tfidf.fit_transform([texts[i] for i in region])
        except ValueError:  # scikit-learn's message if no two texts share a term
            message = "the captions of no two regions share a word; leave this modality out"
            raise UserError(Problem(message, key=f"modalities.{self.modality}")) from None
        k = min(self.params.components, min(weights.shape) - 1)
        if k < 1:
            return weights.toarray(), region
        return TruncatedSVD(k, algorithm="arpack", random_state=0).fit_transform(weights), region
