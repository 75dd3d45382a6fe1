"""The built-in components, registered by the same hooks as those of plugins."""

from __future__ import annotations

from urbankit.registry.hookspecs import Register, hookimpl


@hookimpl
def register_sources(register: Register) -> None:
    register("csv", "urbankit.city.io.text_tables:CSV", "tables of text, separated by commas or tabs")
    register("jsonl", "urbankit.city.io.text_tables:JSONLines", "tables with one JSON object per line")
    register("parquet", "urbankit.city.io.parquet:Parquet", "Parquet and GeoParquet")
    register("vector_file", "urbankit.city.io.vectors:VectorFile", "GeoPackage, Shapefile, GeoJSON and FlatGeobuf")


@hookimpl
def register_datasets(register: Register) -> None:
    package = "urbankit.city.datasets"
    register("benchmark", f"{package}.benchmark:Benchmark", "the .npy files of MVURE, MGFN, HREP and HAFusion")
    register("gtfs", f"{package}.gtfs:GTFS", "a GTFS feed: stops and departures, flows by public transport")
    register("overture", f"{package}.overture:Overture", "places of Overture Maps as points of interest")
    register("osm", f"{package}.osm:OSM", "an OpenStreetMap extract: points of interest, roads, buildings, land use")


@hookimpl
def register_modality_encoders(register: Register) -> None:
    register("vit", "urbankit.modalities.vit:ViT", "vision transformer over images of any bands and size")
    register(
        "convnet", "urbankit.modalities.convnet:ConvNet", "convolutional network over images, from scratch or ResNet"
    )
    register("text", "urbankit.modalities.text:Text", "text transformer (CLIP, SigLIP, BERT family) over captions")
    register("geoclip", "urbankit.modalities.geoclip:GeoCLIP", "location encoder by random Fourier features")
    register("satclip", "urbankit.modalities.satclip:SatCLIP", "location encoder by spherical harmonics and sines")
    register("poi_counts", "urbankit.modalities.poi_counts:PoiCounts", "points of interest by category")
    register(
        "flow_profile",
        "urbankit.modalities.flow_profile:FlowProfile",
        "flows from and to a region",
    )
    register("image_stats", "urbankit.modalities.image_stats:ImageStats", "statistics of an image's bands")
    register("words", "urbankit.modalities.words:Words", "components of the TF-IDF of captions")
    register("coordinates", "urbankit.modalities.coordinates:Coordinates", "projected coordinates of a region")
    register("shape", "urbankit.modalities.shape:Shape", "area, perimeter and compactness of a region")
    register("table", "urbankit.modalities.table:Table", "numeric columns of a table of the city")
    register("precomputed", "urbankit.modalities.precomputed:Precomputed", "vectors of regions from files")


@hookimpl
def register_views(register: Register) -> None:
    register("poi", "urbankit.views.poi:PoiView", "cosine similarity of points of interest by category")
    register("mobility", "urbankit.views.mobility:MobilityView", "flows between regions, row-normalised")
    register("distance", "urbankit.views.distance:DistanceView", "inverse distance between centroids")
    register("temporal", "urbankit.views.temporal:TemporalView", "flows at certain hours or weekdays, row-normalised")


@hookimpl
def register_graph_encoders(register: Register) -> None:
    register("vgae", "urbankit.graph.vgae:VGAE", "variational graph auto-encoder")
    register("gcn", "urbankit.graph.gcn:GCN", "graph convolutional network")


@hookimpl
def register_subgraphs(register: Register) -> None:
    register("random_walk", "urbankit.graph.random_walk:RandomWalk", "regions on a weighted random walk")
    register("full", "urbankit.graph.full:FullGraph", "the whole graph for every region")


@hookimpl
def register_fusions(register: Register) -> None:
    register("add", "urbankit.fusion.add:Add", "sum of the vectors")
    register("concat", "urbankit.fusion.concat:Concat", "concatenation, zeros for absent vectors")
    register("mlp", "urbankit.fusion.mlp:MLP", "concatenation and a multilayer perceptron")
    register("attention", "urbankit.fusion.attention:Attention", "mean weighted by attention to a learned query")


@hookimpl
def register_pair_weights(register: Register) -> None:
    register("uniform", "urbankit.methods.pair_weights:Uniform", "the same weight for every pair")
    register("agreement", "urbankit.methods.agreement:Agreement", "by the similarity of a pair, relative to the batch")


@hookimpl
def register_captioners(register: Register) -> None:
    register(
        "template",
        "urbankit.captioning.captioners.template:Template",
        "text from the counts and tables of a region",
    )
    register(
        "vlm", "urbankit.captioning.captioners.vlm:VLM", "BLIP-2 or any other image-text-to-text model of transformers"
    )


@hookimpl
def register_heads(register: Register) -> None:
    register("forest", "urbankit.heads.forest:Forest", "random forest on the frozen embedding")
    register("gp", "urbankit.heads.gp:GP", "Gaussian process on the frozen embedding, one length scale per block")
    register("kriging", "urbankit.heads.kriging:Kriging", "kriging on coordinates and embedding, for few labels")
    register("linear", "urbankit.heads.linear:Linear", "one linear layer")
    register("mlp", "urbankit.heads.mlp:MLP", "multilayer perceptron")
    register("ridge", "urbankit.heads.ridge:Ridge", "ridge regression on the frozen embedding, for few labels")
    register("stack", "urbankit.heads.stack:Stack", "super learner: a weighted mean of several models")
    register("task_adaptive", "urbankit.heads.task_adaptive:TaskAdaptive", "learned weights of blocks, then a head")


@hookimpl
def register_splits(register: Register) -> None:
    register("random", "urbankit.evaluation.splits:RandomSplit", "regions drawn at random")
    register("spatial", "urbankit.evaluation.splits:SpatialSplit", "whole blocks of a grid over the city")
    register("few", "urbankit.evaluation.few_labels:RandomFew", "a few random labels, many times: learning curves")
    register("few-spatial", "urbankit.evaluation.few_labels:SpatialFew", "a few labels in one district, many times")
    register("folds", "urbankit.evaluation.folds:FoldsProtocol", "folds in the order of regions, fixed probe")


@hookimpl
def register_metrics(register: Register) -> None:
    module = "urbankit.evaluation.builtin_metrics"
    register("r2", f"{module}:R2", "coefficient of determination")
    register("mae", f"{module}:MAE", "mean absolute error")
    register("rmse", f"{module}:RMSE", "root of the mean squared error")
    register("mse", f"{module}:MSE", "mean squared error")
    register("coverage", f"{module}:Coverage", "share of regions whose value is inside the interval")
    register("width", f"{module}:Width", "mean width of the intervals")
    register("macro_f1", f"{module}:MacroF1", "mean F1 of the classes")
    register("weighted_f1", f"{module}:WeightedF1", "mean F1 of the classes, weighted by their frequency")
    register("macro_recall", f"{module}:MacroRecall", "mean recall of the classes")
    register("accuracy", f"{module}:Accuracy", "share of regions with the right class")
    register("ece", f"{module}:ECE", "expected calibration error of class probabilities")
    register("kl", f"{module}:KL", "Kullback-Leibler divergence of shares")
    register("js", f"{module}:JensenShannon", "Jensen-Shannon distance of shares")
    register("nmi", f"{module}:NMI", "normalised mutual information of clusters and classes")
    register("ari", f"{module}:ARI", "adjusted Rand index of clusters and classes")


@hookimpl
def register_exporters(register: Register) -> None:
    register("gpkg", "urbankit.export.geopackage:GeoPackage", "GeoPackage, for QGIS and every other GIS")
    register("flatgeobuf", "urbankit.export.flatgeobuf:FlatGeobuf", "FlatGeobuf, for web maps and QGIS")
    register("pmtiles", "urbankit.export.pmtiles:PMTiles", "vector tiles in one file, for web maps")
    register("qml", "urbankit.export.qgis_style:QGISStyle", "a QGIS style for the layer of the same name")
    register("geoparquet", "urbankit.export.geoparquet:GeoParquet", "GeoParquet, for geopandas, DuckDB and QGIS")
    register("csv", "urbankit.export.csv_table:CSV", "CSV with centroids, for spreadsheets and R")
    register("csv_spreadsheet", "urbankit.export.csv_table:SpreadsheetCSV", "CSV whose texts are never formulas")
    register("npy", "urbankit.export.numpy_arrays:NumPy", "a NumPy matrix with the names of its rows and columns")
    register("geotiff", "urbankit.export.geotiff:GeoTIFF", "a raster of one band for each column")
    register("model", "urbankit.pipeline.model_export:ModelExporter", "a model, to embed and predict other cities")


@hookimpl
def register_figures(register: Register) -> None:
    package = "urbankit.report.figures"
    register("targets", f"{package}.targets:Targets", "maps of each target and its predictions")
    register("scatter", f"{package}.scatter:Scatter", "predictions against the truth")
    register("learning-curves", f"{package}.learning_curves:LearningCurves", "scores over the number of labels")
    register("residuals", f"{package}.residuals:Residuals", "maps of the residuals")
    register("confusion", f"{package}.classes:Confusion", "confusion matrices of classification tasks")
    register("embeddings", f"{package}.embeddings:Embeddings", "the embeddings in two dimensions")
    register("views", f"{package}.views:Views", "three anchor regions in the embedding of each view")
    register("clusters", f"{package}.clusters:Clusters", "maps and profiles of clusters of the embeddings")
    register("cases", f"{package}.cases:Cases", "similar regions with different labels, and their predictions")
    register("walks", f"{package}.walks:Walks", "maps of the walks from anchor regions")
    register("coverage", f"{package}.coverage:Coverage", "numbers of observations of the regions")
    register("curves", f"{package}.curves:Curves", "losses by epoch")


@hookimpl
def register_trackers(register: Register) -> None:
    register("tensorboard", "urbankit.tracking.tensorboard:TensorBoard", "TensorBoard event files")
    register("mlflow", "urbankit.tracking.mlflow:MLflow", "runs of MLflow, in a database or on a server")
    register("wandb", "urbankit.tracking.wandb:Wandb", "runs of Weights & Biases")


@hookimpl
def register_methods(register: Register) -> None:
    register("urbanmmcl", "urbankit.methods.urbanmmcl.model:UrbanMMCL", "multimodal and graph contrastive learning")
