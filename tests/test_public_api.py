"""The names that code outside is written against, and how they are called.

Arrays come by position, in the order of the data flow; what a person chose, keys and
switches by name only.
"""

import importlib
import inspect

import pytest

# name: (arguments by position, arguments by name only, those of them with a default)
API = {
    "ops.bottom_k_mask": ("scores k", "where", "where"),
    "ops.top_k_mask": ("scores k", "where", "where"),
    "ops.by_feature": ("rank", "", ""),
    "ops.previous_salient_token": ("key values", "counted kept texts", "texts"),
    "ops.sequence_fill": ("fill", "copies by_text", "copies by_text"),
    "ops.uniform_data_range_fill": ("key inputs", "low high", ""),
    "ops.uniform_example_range_fill": ("key values", "counted kept", ""),
    "ops.uniform_feature_range_fill": ("key values", "counted kept", ""),
    "ops.uniform_range_fill": ("key inputs", "axes where", "where"),
    "ops.mean_fill": ("key inputs", "axes", ""),
    "ops.constant_fill": ("key inputs", "value", ""),
    "ops.replace": ("inputs mask values", "", ""),
    "ops.delete_positions": ("names", "mask", ""),
    "ops.fill_leaf": ("name fill", "", ""),
    "ops.hide_positions": ("mask", "", ""),
    "ops.masked_pool": ("features mask", "", ""),
    "ops.rasterise_boxes": ("boxes valid shape", "", ""),
    "ops.balanced_threshold": ("maps annotations", "axis_name", "axis_name"),
    "attributions.target_logit": ("logits targets", "", ""),
    "attributions.target_log_probability": ("logits targets", "", ""),
    "attributions.target_probability": ("logits targets", "", ""),
    "attributions.regression_output": ("outputs targets", "", ""),
    "attributions.sigmoid_log_probability": ("logits targets", "", ""),
    "attributions.sigmoid_logit": ("logits targets", "", ""),
    "attributions.sigmoid_probability": ("logits targets", "", ""),
    "attributions.sigmoid_sum_log_probabilities": ("logits targets", "", ""),
    "attributions.sum_log_probabilities": ("logits targets", "", ""),
    "attributions.input_gradient": ("predict_fn inputs targets", "score_fn", ""),
    "attributions.gradient_x_input": ("predict_fn inputs targets", "score_fn", ""),
    "attributions.smooth_grad": (
        "explainer predict_fn inputs targets", "key sigma num_samples", "",
    ),
    "attributions.integrated_gradients": (
        "predict_fn inputs targets",
        "baselines num_points score_fn chunk_size loop", "chunk_size loop",
    ),
    "attributions.grad_cam": (
        "head_fn features targets", "score_fn weights", "weights",
    ),
    "attributions.split_at": ("forward inputs name", "output", "output"),
    "attributions.centred_logit": ("logits targets", "", ""),
    "attributions.grid_segments": ("shape patch", "", ""),
    "attributions.kernel_shap": (
        "predict_fn inputs targets",
        "key segments num_segments num_samples baselines score_fn chunk_size",
        "chunk_size",
    ),
    "attributions.lime": (
        "predict_fn inputs targets",
        "key segments num_segments num_samples kernel_width ridge baselines score_fn "
        "chunk_size",
        "chunk_size",
    ),
    "attributions.occlusion": (
        "predict_fn inputs targets",
        "window strides baselines score_fn chunk_size", "chunk_size",
    ),
    "attributions.rise": (
        "predict_fn inputs targets",
        "key num_masks grid keep_probability baselines score_fn chunk_size",
        "chunk_size",
    ),
    "attributions.segment_sums": ("attributions segments num_segments", "", ""),
    "attributions.shapley_sampling": (
        "predict_fn inputs targets",
        "key segments num_segments num_samples baselines score_fn chunk_size",
        "chunk_size",
    ),
    "attributions.shapley_values": (
        "predict_fn inputs targets",
        "segments num_segments baselines score_fn chunk_size", "chunk_size",
    ),
    "attributions.attention_rollout": ("attentions", "mask", "mask"),
    "attributions.attention_x_gradient": (
        "head_fn attentions targets", "score_fn mask signed", "mask signed",
    ),
    "attributions.attribution_error": ("attributions target", "", ""),
    "attributions.attribution_of": (
        "predict_fn inputs targets attributions", "baselines score_fn layer", "layer",
    ),
    "attributions.attribution_target": (
        "predict_fn inputs targets", "baselines score_fn", "",
    ),
    "attributions.baseline_neutrality": ("predict_fn baselines", "prior", ""),
    "attributions.baselines.background_crop": ("inputs", "key backgrounds", ""),
    "attributions.baselines.blur": ("inputs", "sigma", ""),
    "attributions.baselines.channel_mean": ("inputs", "", ""),
    "attributions.baselines.data_mean": ("inputs", "background", ""),
    "attributions.baselines.uniform_noise": ("inputs", "key low high", ""),
    "attributions.baselines.zeros": ("inputs", "", ""),
    "attributions.class_token_attention": ("attentions", "mask", "mask"),
    "attributions.expected_gradients": (
        "predict_fn inputs targets", "key background num_samples score_fn", "",
    ),
    "attributions.expected_gradients_at": (
        "predict_fn inputs targets", "starts positions noise score_fn", "",
    ),
    "attributions.expected_target": (
        "predict_fn inputs targets", "background score_fn", "",
    ),
    "attributions.gradient_shap": (
        "predict_fn inputs targets", "key background sigma num_samples score_fn", "",
    ),
    "attributions.alpha_beta_rule": ("alpha beta", "", ""),
    "attributions.composite": ("", "first convolution dense", ""),
    "attributions.deep_lift": (
        "predict_fn inputs targets",
        "baselines score_fn primitive_rules", "primitive_rules",
    ),
    "attributions.epsilon_rule": ("epsilon", "", ""),
    "attributions.flat_rule": ("", "", ""),
    "attributions.gamma_rule": ("gamma", "epsilon", "epsilon"),
    "attributions.lrp": (
        "predict_fn inputs targets",
        "rules score_fn primitive_rules", "primitive_rules",
    ),
    "attributions.z_box_rule": ("low high", "", ""),
    "attributions.z_plus_rule": ("", "", ""),
    "attributions.hi_res_cam": ("head_fn features targets", "score_fn", ""),
    "attributions.layer_baseline": ("forward baselines name", "", ""),
    "attributions.odam": ("head_fn features targets", "score_fn", ""),
    "attributions.sigmoid_baseline_neutrality": ("predict_fn baselines", "prior", ""),
    "attributions.smooth_grad_squared": (
        "explainer predict_fn inputs targets", "key sigma num_samples", "",
    ),
    "attributions.split_each": ("forward inputs names", "output", "output"),
    "attributions.taylor": ("predict_fn inputs targets", "baselines at score_fn", ""),
    "attributions.temporal_rescaling": (
        "explainer predict_fn inputs targets", "baselines loop", "loop",
    ),
    "attributions.upsample_conserving": ("maps shape", "", ""),
    "attributions.var_grad": (
        "explainer predict_fn inputs targets", "key sigma num_samples", "",
    ),
    "losses.attention_divergence": (
        "attention target", "where epsilon", "where epsilon",
    ),
    "losses.attention_supervision": ("attention target", "where", "where"),
    "losses.bernoulli_consistency": ("logits masked_logits", "", ""),
    "losses.kl_consistency": ("logits masked_logits", "", ""),
    "losses.squared_consistency": ("outputs masked_outputs", "", ""),
    "losses.info_nce": (
        "queries keys positives", "temperature negatives", "negatives",
    ),
    "losses.kl_to_prior": ("map_mean prior", "", ""),
    "losses.maximum_mean_discrepancy": ("x y", "bandwidth where", "where"),
    "losses.moment_distance": (
        "statistics means deviations", "where epsilon", "where epsilon",
    ),
    "losses.sliced_wasserstein": ("x y", "num_projections key where", "where"),
    "losses.token_negative_log_likelihood": ("logits tokens mask", "", ""),
    "losses.energy": ("attribution_map region", "", ""),
    "losses.leaky_energy": ("attribution_map region", "leak", "leak"),
    "losses.region_l1": ("maps region", "where", "where"),
    "losses.pixel_cross_entropy": ("maps region", "", ""),
    "losses.masked_cross_entropy": ("maps annotations", "", ""),
    "losses.outside_energy": ("attributions region", "", ""),
    "losses.right_for_right_reasons": ("attributions irrelevant", "", ""),
    "losses.robust_error": ("maps annotations", "threshold", ""),
    "losses.robust_explanation": ("maps annotations", "threshold slack", ""),
    "losses.region_contrastive": (
        "object_features background_features image_features", "temperature", "",
    ),
    "losses.region_contrastive_batch": (
        "object_features background_features image_features",
        "temperature where", "where",
    ),
    "losses.region_contrastive_triplet": (
        "object_features background_features image_features", "margin", "",
    ),
    "metrics.area_under_curve": ("values", "fractions", ""),
    "metrics.attention_share": ("attention which", "", ""),
    "metrics.average_precision": ("maps region", "where", "where"),
    "metrics.bias_amplification_attribute_to_task": (
        "predicted_tasks tasks attributes", "", "",
    ),
    "metrics.bias_amplification_task_to_attribute": (
        "predicted_attributes attributes tasks", "", "",
    ),
    "metrics.cascading_randomisation": (
        "explain params", "key layers init_fn similarity", "",
    ),
    "metrics.correct_under": ("predict_fn changed_inputs labels", "correct", ""),
    "metrics.cosine_similarity": ("first second", "where", "where"),
    "metrics.demographic_parity_gap": ("predicted groups", "num_groups", ""),
    "metrics.comprehensiveness": (
        "predict_fn inputs labels attributions", "fractions fill key value where",
        "where",
    ),
    "metrics.effective_number_of_features": ("maps", "where", "where"),
    "metrics.energy_pointing_game": ("maps region", "where", "where"),
    "metrics.entropy": ("maps", "where", "where"),
    "metrics.equalised_odds_gap": ("predicted labels groups", "num_groups", ""),
    "metrics.explanation_precision_recall": (
        "maps annotations", "threshold where", "where",
    ),
    "metrics.fgsm": ("loss_fn inputs", "radius bounds", ""),
    "metrics.gaussian_noise": ("inputs", "key sigma bounds", ""),
    "metrics.gaussian_perturbation": ("key inputs", "sigma", ""),
    "metrics.gini": ("maps", "where", "where"),
    "metrics.group_accuracy": ("correct groups", "num_groups", ""),
    "metrics.group_mean": ("values groups", "num_groups", ""),
    "metrics.group_undefined": ("correct groups", "num_groups", ""),
    "metrics.independent_randomisation": (
        "explain params", "key layers init_fn similarity", "",
    ),
    "metrics.infidelity": (
        "predict_fn inputs targets attributions",
        "key perturb num_samples score_fn optimal_scaling chunk_size",
        "optimal_scaling chunk_size",
    ),
    "metrics.input_invariance": ("explain predict_fn inputs", "shift", ""),
    "metrics.non_sensitivity": (
        "predict_fn inputs targets attributions",
        "baselines score_fn map_tolerance score_tolerance chunk_size", "chunk_size",
    ),
    "metrics.insertion_curve": (
        "predict_fn inputs labels attributions", "fractions fill key value where",
        "value where",
    ),
    "metrics.iou": ("maps region", "threshold where", "where"),
    "metrics.local_lipschitz": ("explain inputs", "key radius num_samples", ""),
    "metrics.mass_precision_recall": ("maps region", "fractions where", "where"),
    "metrics.max_sensitivity": ("explain inputs", "key radius num_samples", ""),
    "metrics.pgd_l2": ("loss_fn inputs", "key radius step_size num_steps bounds", ""),
    "metrics.pgd_linf": (
        "loss_fn inputs", "key radius step_size num_steps bounds", "",
    ),
    "metrics.pointing_game": (
        "maps region", "tolerance where", "tolerance where",
    ),
    "metrics.random_logit": (
        "explain targets", "key num_classes similarity", "",
    ),
    "metrics.randomise_parameters": ("params", "key layers init_fn", ""),
    "metrics.rank_correlation": ("first second", "where", "where"),
    "metrics.recall_at_k": ("ranks", "k", ""),
    "metrics.relevance_mass_accuracy": ("maps region", "where", "where"),
    "metrics.relevance_rank_accuracy": ("maps region", "where", "where"),
    "metrics.retrieval_rank": ("similarities right", "where", "where"),
    "metrics.removal_and_insertion": (
        "predict_fn inputs labels attributions",
        "fractions fill key num_random_orders value where", "value where",
    ),
    "metrics.removal_curve": (
        "predict_fn inputs labels attributions", "fractions fill key value where",
        "value where",
    ),
    "metrics.road_curve": (
        "predict_fn inputs labels attributions", "fractions sigma key value", "value",
    ),
    "metrics.sensitivity_n": (
        "predict_fn inputs targets attributions",
        "key num_features num_subsets baselines score_fn chunk_size", "chunk_size",
    ),
    "metrics.shuffle_parameters": ("params key", "", ""),
    "metrics.span_agreement": ("predicted marks", "iou_threshold where", "where"),
    "metrics.structural_similarity": ("first second", "data_range", ""),
    "metrics.token_agreement": ("predicted marks", "where", "where"),
    "metrics.token_iou": ("predicted marks", "where", "where"),
    "metrics.top_k_agreement": ("scores marks", "k where", "where"),
    "metrics.top_k_intersection": ("first second", "k where", "where"),
    "metrics.sufficiency": (
        "predict_fn inputs labels attributions", "fractions fill key value where",
        "where",
    ),
    "metrics.cider_d": ("candidates references", "", ""),
    "metrics.corpus_bleu": ("candidates references", "", ""),
    "metrics.distinct_n": ("candidates", "n", ""),
    "metrics.label_mention": ("candidates labels", "", ""),
    "metrics.meteor_exact": ("candidates references", "", ""),
    "metrics.rouge_l": ("candidates references", "beta", "beta"),
    "metrics.words_of": ("text", "", ""),
    "metrics.worst_group": ("accuracy", "count", "count"),
    "guidance.attention_guided": (
        "", "layer heads divergence target explain_in permuted",
        "target explain_in permuted",
    ),
    "guidance.attention_guided_published": ("", "variant layer heads", "heads"),
    "guidance.distribution_consistency": (
        "prior", "explain moments momentum", "moments momentum",
    ),
    "guidance.image_text_alignment": (
        "encoder",
        "explain feature_width layer temperature temperature_range pseudo "
        "pseudo_temperature",
        "layer temperature temperature_range pseudo pseudo_temperature",
    ),
    "guidance.map_prior": ("maps valid", "shape", "valid"),
    "guidance.map_set_consistency": ("human_maps", "explain distance key", "key"),
    "guidance.map_statistics": ("maps", "", ""),
    "guidance.mean_embedding": ("", "vocabulary_size width", ""),
    "guidance.pseudo_maps": ("cells texts", "temperature", ""),
    "guidance.saliency_distribution": ("maps", "", ""),
    "guidance.text_of": ("batch", "", ""),
    "guidance.textual_explanation": (
        "head",
        "explain feature_width layer num_classes route", "layer num_classes route",
    ),
    "guidance.textual_prefix": ("params features maps logits", "", "logits"),
    "guidance.counted_loss": ("loss", "", ""),
    "guidance.counted_of": ("batch", "", ""),
    "guidance.evidence_of": ("batch name", "", ""),
    "guidance.marks_of": ("batch name", "", ""),
    "guidance.random_heads": ("count", "num_heads seed", ""),
    "guidance.saliency_guided": (
        "",
        "mask_fraction fill rank_fn score_fn layer explain_in frozen_teacher "
        "consistency",
        "layer explain_in frozen_teacher consistency",
    ),
    "guidance.stateless": ("loss_fn", "", ""),
    "guidance.scale": ("term weight", "", ""),
    "guidance.every_k_steps": ("term k", "", ""),
    "training.guidance_loss": (
        "apply_fn terms params model_state guidance_state batch",
        "key step output axis_name task_loss dropout_key input_pullback",
        "output axis_name task_loss dropout_key input_pullback",
    ),
    "training.make_objective": (
        "apply_fn terms", "task_loss axis_name", "task_loss axis_name",
    ),
    "training.init_train_state": (
        "key params model_state terms optimizer batch", "", "",
    ),
    "training.make_train_step": (
        "apply_fn terms optimizer",
        "task_loss axis_name accumulate", "task_loss axis_name accumulate",
    ),
    "training.make_eval_step": (
        "apply_fn", "task_loss correct axis_name", "task_loss correct axis_name",
    ),
    "training.sigmoid_correct": ("logits labels", "", ""),
    "training.sigmoid_cross_entropy": ("output batch", "", ""),
    "training.softmax_correct": ("logits labels", "", ""),
    "training.softmax_cross_entropy": ("output batch", "", ""),
    "guidance.saliency_guided_published": (
        "", "images mask_fraction", "mask_fraction",
    ),
    "guidance.right_for_right_reasons_published": ("", "", ""),
    "guidance.haics_published": ("", "layer", "layer"),
    "guidance.res_gaussian_published": ("", "slack layer", "slack layer"),
    "guidance.res_learned_published": (
        "", "slack kernel_size stride layer", "slack kernel_size stride layer",
    ),
    "guidance.summed": ("term", "", ""),
    "evaluation.accuracy_by_group": ("correct groups", "num_groups", ""),
    "evaluation.bias_amplification": (
        "predicted labels attributes", "num_classes num_attributes", "",
    ),
    "evaluation.bootstrap_interval": (
        "values", "seed num_resamples confidence", "num_resamples confidence",
    ),
    "evaluation.compare_with_chance": ("curves", "fractions", ""),
    "evaluation.completeness_of": ("gap change", "", ""),
    "evaluation.energy_in_region": ("maps region", "", ""),
    "evaluation.iou_at_held_out_threshold": ("maps region", "held_out thresholds", ""),
    "evaluation.macro_f1": ("predicted labels", "num_classes", ""),
    "evaluation.make_explain": ("apply_fn explain_fns", "batch_size", ""),
    "evaluation.map_rows": ("batch_fn rows", "batch_size", ""),
    "evaluation.measure_removal": (
        "predict_fn inputs labels scores",
        "orders fills fractions key batch_size value where", "value where",
    ),
    "evaluation.of_explain": ("explain", "", ""),
    "evaluation.of_inputs": ("explainer", "", ""),
    "evaluation.of_layer": ("explainer layer", "", ""),
    "evaluation.paired_difference": ("values references", "confidence", "confidence"),
    "evaluation.random_orders": ("inputs", "key num_orders", ""),
    "evaluation.ratio_of_means": (
        "numerators denominators",
        "seed num_resamples confidence", "seed num_resamples confidence",
    ),
    "evaluation.removal_curves": (
        "predict_fn inputs labels scores",
        "orders fills fractions key value where", "value where",
    ),
    "evaluation.summarise": ("values", "", ""),
    "evaluation.summarise_pair": ("first second", "", ""),
    "evaluation.t_interval": ("values", "confidence", "confidence"),
    "evaluation.top_class": ("logits", "", ""),
    "guidance.localisation": ("", "loss explain evidence", "evidence"),
    "guidance.region_contrastive": (
        "", "loss layer per_box anchor anchor_grad whole_batch",
        "layer per_box anchor anchor_grad whole_batch",
    ),
    "guidance.region_consistency": (
        "", "fill layer inside_share consistency", "layer inside_share consistency",
    ),
    "guidance.replaced_background_loss": (
        "", "fill layer inside_share task_loss", "layer inside_share task_loss",
    ),
    "guidance.right_for_right_reasons": (
        "", "explain evidence", "explain evidence",
    ),
    "guidance.gradia": ("", "explain", "explain"),
    "guidance.haics": ("", "explain inside_share", "explain inside_share"),
    "guidance.res_gaussian": (
        "", "slack explain inside_share", "explain inside_share",
    ),
    "guidance.res_learned": (
        "", "slack kernel_size stride explain inside_share",
        "kernel_size stride explain inside_share",
    ),
    "guidance.explain": (
        "explainer", "layer explain_in normalise", "layer explain_in normalise",
    ),
    "guidance.normalised_cam": (
        "", "layer score_fn frozen_weights explain_in epsilon",
        "layer score_fn frozen_weights explain_in epsilon",
    ),
    "guidance.frozen_grad_cam": (
        "head_fn features targets", "score_fn signed", "signed",
    ),
    "guidance.annotations_of": ("batch", "", ""),
    "guidance.boxes_of": ("batch", "", ""),
    "guidance.present": ("batch", "", ""),
    "guidance.region_of": ("batch", "", ""),
    "guidance.targets_of": ("batch", "", ""),
    "guidance.region_fill": ("fill", "", ""),
    "guidance.other_backgrounds": (
        "key inputs", "region present axis_name", "present axis_name",
    ),
    "ops.noisy_linear_imputation": ("inputs mask", "key sigma", ""),
    "ops.keyed": ("rank", "", ""),
    "ops.random_rank": ("attributions", "key", ""),
    "ops.batch_size": ("batch", "", ""),
    "ops.barriered_sum": (
        "part values", "count chunk_size loop", "chunk_size loop",
    ),
    "testing.attention_network": (
        "key", "vocabulary_size num_tokens num_features num_heads num_classes",
        "vocabulary_size num_tokens num_features num_heads num_classes",
    ),
    "testing.token_batch": (
        "key", "batch_size num_classes num_tokens vocabulary_size",
        "batch_size num_classes num_tokens vocabulary_size",
    ),
    "testing.token_network": (
        "key", "num_classes num_features vocabulary_size",
        "num_classes num_features vocabulary_size",
    ),
    "files.append_record": ("path record", "", ""),
    "files.read_records": ("path", "", ""),
    "files.truncate_log": ("path keep", "", ""),
    "files.write_bytes": ("path content", "", ""),
    "files.write_json": ("path value", "", ""),
    "models.above_layer": ("apply_fn layer", "", ""),
    "models.bcos_contributions": ("forward inputs targets", "", ""),
    "models.bcos_inputs": ("images", "", ""),
    "models.beam_decode": (
        "head params prefix", "length num_beams length_penalty ids", "ids",
    ),
    "models.freeze": ("apply_fn params model_state", "trained", ""),
    "models.greedy_decode": ("head params prefix", "length ids", "ids"),
    "models.imagenet_inputs": (
        "image", "size shorter_side mean std", "size shorter_side mean std",
    ),
    "models.load_bert": ("folder", "num_classes pooling key", ""),
    "models.load_resnet": ("path", "num_classes key", ""),
    "models.load_vision_transformer": (
        "path", "num_classes key num_heads", "num_heads",
    ),
    "models.packaged_minilm": ("", "", ""),
    "models.tail": ("apply_fn layer", "input_shape exposed", "exposed"),
    "models.top_layers": ("params", "num_layers", ""),
    "models.top_stages": ("params", "num_stages", ""),
    "models.load_weights": ("path", "like", "like"),
    "testing.check_apply_fn": (
        "apply_fn params model_state inputs", "skips modes_differ",
        "skips modes_differ",
    ),
    "training.data_parallel": ("step", "how devices", "how devices"),
    "training.pad_batch": ("batch multiple", "", ""),
    "models.init_linen": ("module key inputs", "mode_arguments", "mode_arguments"),
    "models.linen_apply_fn": ("module", "mode_arguments", "mode_arguments"),
    "models.linen_text_head": ("module", "width", "width"),
    "models.nnx_apply_fn": ("model", "mode_arguments", "mode_arguments"),
    "data.arrays_digest": ("tree", "", ""),
    "data.batch_indices": (
        "num_examples",
        "batch_size seed step process_index process_count",
        "process_index process_count",
    ),
    "data.bccd_crops": ("directory", "split mean std", "split mean std"),
    "data.box_masks": ("boxes valid", "shape", ""),
    "data.boxes_from_coco": ("boxes", "", ""),
    "data.boxes_from_fractions": ("boxes", "shape", ""),
    "data.boxes_from_voc": ("boxes", "first inclusive", "first inclusive"),
    "data.boxes_from_yolo": ("boxes", "shape", ""),
    "data.bucketed_batches": (
        "dataset",
        "buckets batch_size seed augment process_index process_count",
        "augment process_index process_count",
    ),
    "data.bucketed_eval_batches": ("dataset", "buckets batch_size", ""),
    "data.cache_features": (
        "features_fn images folder", "key batch_size mean std", "mean std",
    ),
    "data.choose_targets": ("batch indices", "seed step", ""),
    "data.choose_texts": ("batch indices", "seed step", ""),
    "data.classes_of": ("annotated", "", ""),
    "data.coco_captions": ("directory", "shape mean std", "mean std"),
    "data.coco_masks": ("directory", "shape mean std", "mean std"),
    "data.corner_swatch": ("digits", "seed train", ""),
    "data.corrupt_masks": (
        "rng masks",
        "shift dilate erode drop",
        "shift dilate erode drop",
    ),
    "data.count_holes": ("masks", "min_area", "min_area"),
    "data.decode_images": (
        "paths folder",
        "shape upright background num_threads", "upright background num_threads",
    ),
    "data.decode_tokens": ("ids tokenizer", "", ""),
    "data.described_digits": (
        "digits",
        "rho half map_rate text_rate seed evidence drawn",
        "evidence drawn",
    ),
    "data.digits": ("", "", ""),
    "data.dilate": ("inputs annotations", "fraction", ""),
    "data.dilate_boxes": ("boxes", "fraction shape", ""),
    "data.encode_described": ("described tokenizer", "length", ""),
    "data.encode_texts": ("texts tokenizer", "length", ""),
    "data.entailment_or_not": ("logits class_names", "", ""),
    "data.explained_words": ("example", "explanation", "explanation"),
    "data.eval_batches": ("dataset", "batch_size", ""),
    "data.extent": ("masks", "", ""),
    "data.flip_horizontally": ("inputs annotations", "", ""),
    "data.highlighted": ("example", "", ""),
    "data.highlighted_on_both_sides": ("example", "", ""),
    "data.keep_fraction": ("num_examples", "fraction seed", ""),
    "data.load_tokenizer": ("path", "", ""),
    "data.make_batch": ("dataset indices", "augment seed step", "augment"),
    "data.mask_from_coco": ("segmentation", "shape", ""),
    "data.mask_from_labelme": ("record", "labels", "labels"),
    "data.mask_from_polygons": ("polygons", "shape", ""),
    "data.mask_from_rle": ("rle", "", ""),
    "data.mnist10k": ("directory", "", ""),
    "data.normalise_images": ("pixels", "mean std", ""),
    "data.normalise_maps": ("maps", "", ""),
    "data.object_mask": ("one shape", "", ""),
    "data.parse_stars": ("text", "", ""),
    "data.planted_series": (
        "num_series",
        "layout process seed irregular num_steps num_features",
        "num_steps num_features",
    ),
    "data.polygon_from_cvat": ("points", "", ""),
    "data.position_thirds": ("masks", "margin", "margin"),
    "data.prefetch": ("items", "size", "size"),
    "data.read_annotations": ("path images", "", "images"),
    "data.read_box_csv": ("file images", "class_names", "class_names"),
    "data.read_class_folders": ("folder", "", ""),
    "data.read_coco": ("file images", "", ""),
    "data.read_cos_e": ("questions explanations", "", ""),
    "data.read_cvat": ("file images", "class_names", "class_names"),
    "data.read_described_images": (
        "path", "class_names shape mean std", "mean std",
    ),
    "data.read_eraser": ("directory", "split class_names select", ""),
    "data.read_esnli": ("paths", "annotators at_least", ""),
    "data.read_esnli_explanations": ("path", "at_least", ""),
    "data.read_exp_annotation": ("path", "class_names shape mean std", "mean std"),
    "data.read_fever": ("directory", "split select", ""),
    "data.read_hans": ("path", "", ""),
    "data.read_image": ("path", "background upright", "background upright"),
    "data.read_labelme": ("folder images", "class_names", "class_names"),
    "data.read_mask": ("path", "upright", "upright"),
    "data.read_mask_files": ("folder images", "class_of_value void", "void"),
    "data.read_images": ("images rows", "mean std", "mean std"),
    "data.read_rows": ("cached rows", "", ""),
    "data.read_snli": ("path", "", ""),
    "data.read_structured_esnli": ("path", "", ""),
    "data.read_texts": ("path", "class_names malformed", "malformed"),
    "data.read_ts": ("path", "num_steps", "num_steps"),
    "data.read_ucr_tsv": ("path", "class_names num_steps", "num_steps"),
    "data.reference_tokenizer": (
        "texts", "max_size min_count pieces", "max_size min_count pieces",
    ),
    "data.region_from_coco": ("annotations", "inside shape", ""),
    "data.region_from_labels": ("mask", "inside void outside", "void outside"),
    "data.class_regions": ("images", "shape", ""),
    "data.class_boxes": ("images", "num_classes shape", ""),
    "data.stretched_boxes": ("one objects", "shape", ""),
    "data.swapped_backgrounds": ("images regions labels", "seed", ""),
    "data.on_background": ("image region other other_region", "", ""),
    "data.other_class_partners": ("regions labels", "seed", ""),
    "data.without_object": ("image region", "", ""),
    "data.read_voc": (
        "folder images", "class_names first inclusive", "class_names first inclusive",
    ),
    "data.read_yolo": ("folder images", "class_names", "class_names"),
    "data.region_of": ("annotated label", "", ""),
    "data.res_annotations": ("directory image_ids", "shape", "shape"),
    "data.resize": ("inputs annotations", "shape", ""),
    "data.resize_mask": ("mask", "shape", ""),
    "data.rle_from_mask": ("mask", "compressed", "compressed"),
    "data.sentences_within": ("max_length", "evidence_first length_fn", "length_fn"),
    "data.shift": ("inputs annotations", "dy dx pad_value", "pad_value"),
    "data.split": ("dataset", "seed fractions", "fractions"),
    "data.split_images": ("described", "seed fractions", "fractions"),
    "data.streamed_batches": (
        "dataset read",
        "batch_size seed augment process_index process_count",
        "augment process_index process_count",
    ),
    "data.streamed_eval_batches": ("dataset read", "batch_size", ""),
    "data.stroke_width": ("masks", "", ""),
    "data.take": ("dataset indices", "", ""),
    "data.take_described": ("described indices", "", ""),
    "data.templated_pairs": (
        "num_pairs",
        "seed artefact artefact_rate counterexample_rate",
        "artefact_rate counterexample_rate",
    ),
    "data.templated_probes": ("num_probes", "seed", ""),
    "data.tensorflow_datasets_esnli": (
        "split", "data_dir download", "data_dir download",
    ),
    "data.tensorflow_datasets_images": (
        "name split",
        "data_dir download mean std",
        "data_dir download mean std",
    ),
    "data.tensorflow_datasets_regions": (
        "name split",
        "shape data_dir download mean std",
        "data_dir download mean std",
    ),
    "data.text_words": ("texts corpus", "index", ""),
    "data.textured_digits": ("digits", "rho half seed", ""),
    "data.token_classes": ("texts corpus", "", ""),
    "data.tokenise": (
        "corpus tokenizer",
        "max_length rationale mass_per attributes",
        "attributes",
    ),
    "data.transform_together": (
        "rng inputs annotations",
        "dilation shape flip pad_crop pad_value",
        "dilation shape flip pad_crop pad_value",
    ),
    "data.upright_of": ("annotated", "", ""),
    "data.validate": ("dataset", "", ""),
    "data.validate_batch": ("batch", "num_classes", ""),
    "data.word_spans": ("text", "", ""),
    "data.word_tokenizer": ("corpus", "min_count", "min_count"),
    "training.fit": (
        "train_step state batch_at",
        "num_steps log_every on_log save_every on_save "
        "max_consecutive_nonfinite progress stop",
        "log_every on_log save_every on_save max_consecutive_nonfinite progress stop",
    ),
    "training.init_guidance": ("key terms batch", "", ""),
    "training.lock_directory": ("directory", "", ""),
    "training.restore_checkpoint": ("directory like", "config", ""),
    "training.restore_params": (
        "directory params model_state",
        "step partly",
        "step partly",
    ),
    "training.save_checkpoint": ("directory state", "config keep", "keep"),
    "training.stop_on_signals": ("signals", "", "signals"),
    "testing.example_batch": (
        "key",
        "batch_size input_shape num_classes",
        "batch_size input_shape num_classes",
    ),
    "testing.smooth_network": (
        "key",
        "input_shape num_channels num_classes batch_norm axis_name",
        "input_shape num_channels num_classes batch_norm axis_name",
    ),
    "attributions.completeness_error": (
        "predict_fn inputs targets attributions",
        "baselines score_fn",
        "",
    ),
    "attributions.completeness_gap": (
        "predict_fn inputs targets attributions",
        "baselines score_fn",
        "",
    ),
    "attributions.grad_cam_weights": ("head_fn features targets", "score_fn", ""),
    "attributions.layer_cam": ("head_fn features targets", "score_fn", ""),
    "attributions.signed_grad_cam": (
        "head_fn features targets",
        "score_fn weights",
        "weights",
    ),
    "models.override": ("name activation overrides", "", ""),
    "ops.clip_boxes": ("boxes valid", "shape", ""),
    "ops.rescale_extremes": ("values", "axis", ""),
    "ops.safe_divide": ("numerator denominator", "", ""),
    "ops.safe_norm": ("vectors", "axis", ""),
    "ops.weighted_mean": ("values weights", "axis_name", "axis_name"),
    "ops.area_resize": ("maps", "shape", ""),
    "ops.bilinear_resize": ("maps", "shape", ""),
    "ops.measure_copies": ("measure inputs", "count chunk_size", ""),
    "ops.max_pool": ("inputs", "window", ""),
    "ops.min_max_normalise": ("maps", "epsilon", "epsilon"),
    "ops.normalise_by_max": ("maps", "", ""),
    "ops.normalise_by_max_magnitude": ("maps", "", ""),
    "ops.clamped_log": ("values", "", ""),
    "ops.permute_within": ("key values groups", "", ""),
    "ops.per_example": ("fill", "", ""),
    "ops.example_keys": ("key batch_size", "", ""),
}  # fmt: skip

DEFAULTS = {
    "attributions.temporal_rescaling": {"loop": "auto"},
    "ops.bottom_k_mask": {"where": None},
    "ops.top_k_mask": {"where": None},
    "ops.balanced_threshold": {"axis_name": None},
    "attributions.attention_x_gradient": {"mask": None, "signed": False},
    "attributions.integrated_gradients": {"chunk_size": None, "loop": "auto"},
    "attributions.grad_cam": {"weights": None},
    "attributions.split_at": {"output": None},
    "losses.info_nce": {"negatives": None},
    "losses.leaky_energy": {"leak": 0.5},
    "losses.moment_distance": {"where": None, "epsilon": 1e-6},
    "metrics.infidelity": {"optimal_scaling": False, "chunk_size": None},
    "losses.region_contrastive_batch": {"where": None},
    "metrics.rouge_l": {"beta": 1.2},
    "guidance.attention_guided": {
        "target": "rationale", "explain_in": "train", "permuted": False,
    },
    "guidance.attention_guided_published": {"heads": None},
    "guidance.distribution_consistency": {"moments": 0.1, "momentum": None},
    "guidance.image_text_alignment": {
        "layer": "features", "temperature": 0.07, "temperature_range": (0.01, 1.0),
        "pseudo": None, "pseudo_temperature": 0.1,
    },
    "guidance.textual_explanation": {
        "layer": "features", "num_classes": None, "route": "all",
    },
    "guidance.saliency_guided": {
        "layer": None, "explain_in": "eval", "frozen_teacher": False,
    },
    "ops.previous_salient_token": {"texts": None},
    "ops.sequence_fill": {"copies": False, "by_text": False},
    "ops.uniform_range_fill": {"where": None},
    "guidance.saliency_guided_published": {"mask_fraction": 0.5},
    "guidance.explain": {"layer": None, "explain_in": "eval", "normalise": None},
    "guidance.haics": {"explain": None, "inside_share": 0.0},
    "guidance.normalised_cam": {
        "layer": "features", "frozen_weights": True, "explain_in": "eval",
        "epsilon": 0.0,
    },
    "guidance.region_consistency": {"layer": None, "inside_share": 0.0},
    "guidance.region_contrastive": {
        "layer": "features", "per_box": False, "anchor": "image", "anchor_grad": True,
    },
    "guidance.haics_published": {"layer": "features"},
    "guidance.res_gaussian_published": {"slack": 0.1, "layer": "features"},
    "guidance.res_learned_published": {
        "slack": 0.1, "kernel_size": 64, "stride": 32, "layer": "features",
    },
    "training.guidance_loss": {
        "output": None, "axis_name": None, "dropout_key": None,
        "input_pullback": None,
    },
    "training.make_objective": {"axis_name": None},
    "training.make_train_step": {"axis_name": None, "accumulate": 1},
    "training.make_eval_step": {"axis_name": None},
    "training.data_parallel": {"how": "pmap", "devices": None},
    "evaluation.bootstrap_interval": {"num_resamples": 1000, "confidence": 0.95},
    "evaluation.paired_difference": {"confidence": 0.95},
    "evaluation.ratio_of_means": {
        "seed": 0, "num_resamples": 10_000, "confidence": 0.95,
    },
    "evaluation.t_interval": {"confidence": 0.95},
    "testing.check_apply_fn": {"skips": (), "modes_differ": None},
    "data.batch_indices": {"process_index": 0, "process_count": 1},
    "data.bccd_crops": {"split": None, "mean": 0.0, "std": 1.0},
    "data.boxes_from_voc": {"first": 1, "inclusive": True},
    "data.coco_captions": {"mean": 0.0, "std": 1.0},
    "data.coco_masks": {"mean": 0.0, "std": 1.0},
    "data.corrupt_masks": {"shift": 0, "dilate": 0, "erode": 0, "drop": 0.0},
    "data.count_holes": {"min_area": 1},
    "data.described_digits": {
        "evidence": ("holes", "stroke", "width", "place"), "drawn": "box",
    },
    "data.make_batch": {"augment": None},
    "data.mask_from_labelme": {"labels": None},
    "data.planted_series": {"num_steps": 50, "num_features": 50},
    "data.position_thirds": {"margin": 0},
    "data.prefetch": {"size": 2},
    "data.read_described_images": {"mean": 0.0, "std": 1.0},
    "data.read_exp_annotation": {"mean": 0.0, "std": 1.0},
    "data.read_image": {"background": (255, 255, 255), "upright": True},
    "data.read_mask": {"upright": True},
    "data.reference_tokenizer": {"max_size": 4096, "min_count": 1, "pieces": False},
    "data.read_annotations": {"images": None},
    "data.read_box_csv": {"class_names": None},
    "data.read_cvat": {"class_names": None},
    "data.read_labelme": {"class_names": None},
    "data.read_mask_files": {"void": ()},
    "data.read_voc": {"first": 1, "inclusive": True, "class_names": None},
    "data.read_yolo": {"class_names": None},
    "data.region_from_labels": {"void": (), "outside": None},
    "data.res_annotations": {"shape": None},
    "data.rle_from_mask": {"compressed": True},
    "data.shift": {"pad_value": 0.0},
    "data.split": {"fractions": (0.8, 0.1, 0.1)},
    "data.split_images": {"fractions": (0.8, 0.1, 0.1)},
    "data.read_texts": {"malformed": "refuse"},
    "data.read_ts": {"num_steps": None},
    "data.read_ucr_tsv": {"num_steps": None},
    "data.tensorflow_datasets_esnli": {"data_dir": None, "download": True},
    "data.templated_pairs": {"artefact_rate": 0.9, "counterexample_rate": 0.0},
    "data.tensorflow_datasets_images": {
        "data_dir": None, "download": True, "mean": 0.0, "std": 1.0,
    },
    "data.tensorflow_datasets_regions": {
        "data_dir": None, "download": True, "mean": 0.0, "std": 1.0,
    },
    "data.transform_together": {
        "dilation": 0.0, "shape": None, "flip": False, "pad_crop": 0,
        "pad_value": 0.0,
    },
    "training.fit": {
        "log_every": 50, "on_log": None, "save_every": None, "on_save": None,
        "max_consecutive_nonfinite": 10, "progress": None, "stop": None,
    },
    "training.restore_params": {"step": None, "partly": False},
    "training.save_checkpoint": {"keep": 2},
    "testing.example_batch": {
        "batch_size": 8, "input_shape": (6, 6, 2), "num_classes": 3,
    },
    "testing.smooth_network": {
        "input_shape": (6, 6, 2), "num_channels": 4, "num_classes": 3,
        "batch_norm": False, "axis_name": None,
    },
}  # fmt: skip


def signature(name):
    module, _, function = name.rpartition(".")
    return inspect.signature(
        getattr(importlib.import_module(f"xguide_jax.{module}"), function)
    )


@pytest.mark.parametrize("name", sorted(API))
def test_a_public_function_is_called_as_documented(name):
    by_position, by_name, optional = (part.split() for part in API[name])
    parameters = signature(name).parameters.values()
    kinds = {
        kind: [p.name for p in parameters if p.kind is kind]
        for kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
    }
    assert sum(map(len, kinds.values())) == len(parameters)  # no *args, no **kwargs
    first, rest = kinds.values()
    assert first == by_position
    assert sorted(rest) == sorted(by_name)
    has_default = [p.name for p in parameters if p.default is not p.empty]
    assert sorted(has_default) == sorted(optional)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_default_is_what_the_documentation_says(name):
    parameters = signature(name).parameters
    actual = {key: parameters[key].default for key in DEFAULTS[name]}
    assert actual == DEFAULTS[name]


@pytest.mark.parametrize(
    ("name", "first"),
    [("check_explainer", "explainer"), ("check_guidance_term", "term")],
)
def test_a_conformance_check_needs_one_thing(name, first):
    parameters = list(signature(f"testing.{name}").parameters.values())
    assert parameters[0].name == first
    assert all(p.default is not p.empty for p in parameters[1:])
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[1:])


@pytest.mark.parametrize(
    "module", ["attributions", "data", "losses", "metrics", "testing", "training"]
)
def test_every_public_function_is_pinned(module):
    imported = importlib.import_module(f"xguide_jax.{module}")
    functions = {
        f"{module}.{name}"
        for name in imported.__all__
        if inspect.isfunction(getattr(imported, name))
    }
    # Three take whatever they are to check, one as many numbers as it is given.
    special = {
        f"testing.check_{what}" for what in ("explainer", "guidance_term", "metric")
    }
    special |= {"data.generator"}
    assert functions - special == {n for n in API if n.rpartition(".")[0] == module}


def test_the_names_that_are_no_functions():
    names = {
        "data": "Annotated AnnotatedImages CachedRows Corpus Dataset Described "
        "LabelledRegion Marks MaskPixels Object Problem ReferenceCounts SeriesCounts "
        "SimulatedAnnotations Stream TextExample TextWords TokenCounts "
        "UndecodableError",
        "training": "Aux Interrupted LockedError NonFiniteError",
    }
    for module, classes in names.items():
        imported = importlib.import_module(f"xguide_jax.{module}")
        found = {n for n in imported.__all__ if inspect.isclass(getattr(imported, n))}
        assert found == set(classes.split())
    assert issubclass(_training().Interrupted, SystemExit)  # no traceback, a status
    assert issubclass(_training().NonFiniteError, RuntimeError)
    assert issubclass(_training().LockedError, RuntimeError)


def _training():
    return importlib.import_module("xguide_jax.training")
