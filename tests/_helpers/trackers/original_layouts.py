"""Plain models with the modules, call order and tensor layouts of the original MOTIP, MOTR and a dense detector."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def inverse_sigmoid(x):
    return torch.logit(x, eps=1e-5)


class NestedTensor:
    def __init__(self, tensors, mask):
        self.tensors, self.mask = tensors, mask


class DecoderLayer(nn.Module):
    """Order of Deformable DETR: norm2 ends self-attention, norm1 cross-attention, norm3 the feed-forward.

    With ``cross_self``, MOTR's default, the cross-attention comes first.
    """

    def __init__(self, d_model, cross_self=False):
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(d_model, 4, batch_first=True)
        self.norm1 = nn.LayerNorm(d_model)
        self.self_attn = nn.MultiheadAttention(d_model, 4)
        self.norm2 = nn.LayerNorm(d_model)
        self.linear1, self.linear2 = nn.Linear(d_model, 32), nn.Linear(32, d_model)
        self.norm3 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(0.1)
        self.cross_self = cross_self

    def _self(self, tgt, query_pos):
        q = k = (tgt + query_pos).transpose(0, 1)
        tgt2 = self.self_attn(q, k, tgt.transpose(0, 1))[0].transpose(0, 1)
        return self.norm2(tgt + self.dropout(tgt2))

    def _cross(self, tgt, query_pos, src, padding):
        return self.norm1(
            tgt + self.dropout(self.cross_attn(tgt + query_pos, src, src, padding, need_weights=False)[0])
        )

    def forward(self, tgt, query_pos, reference_points, src, src_padding_mask):
        if self.cross_self:
            tgt = self._self(self._cross(tgt, query_pos, src, src_padding_mask), query_pos)
        else:
            tgt = self._cross(self._self(tgt, query_pos), query_pos, src, src_padding_mask)
        return self.norm3(tgt + self.dropout(self.linear2(self.linear1(tgt).relu())))


class Decoder(nn.Module):
    def __init__(self, layer, num_layers):
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))

    def forward(self, tgt, reference_points, src, query_pos, src_padding_mask):
        intermediate = []
        for layer in self.layers:
            tgt = layer(tgt, query_pos, reference_points, src, src_padding_mask)
            intermediate.append(tgt)
        return torch.stack(intermediate), reference_points.expand(len(self.layers), *reference_points.shape)


class Transformer(nn.Module):
    def __init__(self, d_model, num_layers, cross_self=False):
        super().__init__()
        self.d_model = d_model
        self.encoder = nn.TransformerEncoderLayer(d_model, 4, 32, batch_first=True, dropout=0.0)
        self.decoder = Decoder(DecoderLayer(d_model, cross_self), num_layers)
        self.reference_points = nn.Linear(d_model, 2)

    def forward(self, srcs, masks, pos_embeds, query_embed=None, ref_pts=None):
        flat = torch.cat([(src + pos).flatten(2).transpose(1, 2) for src, pos in zip(srcs, pos_embeds, strict=True)], 1)
        padding = torch.cat([mask.flatten(1) for mask in masks], 1)
        memory = self.encoder(flat) * ~padding[..., None]
        query_embed, tgt = query_embed.split(self.d_model, 1)
        query_embed, tgt = (x[None].expand(len(flat), -1, -1) for x in (query_embed, tgt))
        reference = self.reference_points(query_embed).sigmoid() if ref_pts is None else ref_pts[None]
        hs, references = self.decoder(tgt, reference, memory, query_embed, padding)
        return hs, reference, references, None, None


class Detector(nn.Module):
    """The part of Deformable DETR that MOTIP and MOTR share."""

    def __init__(self, d_model=32, num_layers=2, num_queries=8, cross_self=False):
        super().__init__()
        self.backbone = nn.ModuleList(nn.Conv2d(3, 8, 3, stride, 1) for stride in (8, 16, 32))
        self.input_proj = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(8, d_model, 1), nn.GroupNorm(8, d_model)) for _ in range(3)]
            + [nn.Sequential(nn.Conv2d(8, d_model, 3, 2, 1), nn.GroupNorm(8, d_model))]
        )
        self.transformer = Transformer(d_model, num_layers, cross_self)
        self.query_embed = nn.Embedding(num_queries, 2 * d_model)
        self.class_embed = nn.ModuleList(nn.Linear(d_model, 1) for _ in range(num_layers))
        self.bbox_embed = nn.ModuleList(nn.Linear(d_model, 4) for _ in range(num_layers))

    def pyramid(self, samples):
        features = [level(samples.tensors) for level in self.backbone]
        srcs = [proj(x) for proj, x in zip(self.input_proj, [*features, features[-1]], strict=True)]
        masks = [F.interpolate(samples.mask[None].float(), x.shape[-2:]).bool()[0] for x in srcs]
        return srcs, masks, [torch.cos(torch.ones_like(x).cumsum(-1) + torch.ones_like(x).cumsum(1)) for x in srcs]

    def heads(self, hs, init_reference, inter_references):
        boxes, logits = [], []
        for level, hidden in enumerate(hs):
            offset = self.bbox_embed[level](hidden)
            reference = inverse_sigmoid(init_reference if level == 0 else inter_references[level - 1])
            boxes.append(torch.cat([offset[..., :2] + reference[..., :2], offset[..., 2:]], -1).sigmoid())
            logits.append(self.class_embed[level](hidden))
        aux = [{"pred_logits": a, "pred_boxes": b} for a, b in zip(logits[:-1], boxes[:-1], strict=True)]
        return {"pred_logits": logits[-1], "pred_boxes": boxes[-1], "aux_outputs": aux}


class DeformableDETR(Detector):
    """MOTIP's detector: returns the last hidden states as "outputs"."""

    def forward(self, samples):
        srcs, masks, pos = self.pyramid(samples)
        hs, init_reference, inter_references, _, _ = self.transformer(srcs, masks, pos, self.query_embed.weight)
        return self.heads(hs, init_reference, inter_references) | {"outputs": hs[-1]}


class TrajectoryModeling(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.adapter, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)

    def forward(self, seq_info):
        features = seq_info["trajectory_features"]
        seq_info["trajectory_features"] = self.norm(features + self.adapter(features))
        return seq_info


class IDDecoder(nn.Module):
    """Attention of the detections of a frame to all history tokens of earlier frames."""

    def __init__(self, dim, vocabulary):
        super().__init__()
        self.words = nn.Linear(vocabulary + 1, dim, bias=False)
        self.attention = nn.MultiheadAttention(2 * dim, 4, dropout=0.1, batch_first=True, add_zero_attn=True)
        self.head = nn.Linear(2 * dim, vocabulary + 1)
        self.vocabulary = vocabulary

    def _tokens(self, features, labels):
        return torch.cat([features, self.words(F.one_hot(labels, self.vocabulary + 1).to(features.dtype))], -1)

    def forward(self, seq_info):
        history, masks = seq_info["trajectory_features"], seq_info["trajectory_masks"]
        batch, groups, frames, tracks = masks.shape
        keys = self._tokens(history, seq_info["trajectory_id_labels"]).view(batch * groups, frames * tracks, -1)
        unknown = seq_info["unknown_features"]
        queries = self._tokens(unknown, torch.full_like(seq_info["trajectory_id_labels"], self.vocabulary))
        known, asked = (seq_info[f"{role}_times"].reshape(-1, frames * tracks) for role in ("trajectory", "unknown"))
        later = known[:, None] >= asked[..., None]
        padding = masks.reshape(-1, frames * tracks)[:, None]
        forbidden = (later | padding).repeat_interleave(4, 0)
        flat = queries.view(batch * groups, frames * tracks, -1)
        return self.head(flat + self.attention(flat, keys, keys, attn_mask=forbidden, need_weights=False)[0])


class MOTIP(nn.Module):
    def __init__(self, dim=32, vocabulary=5):
        super().__init__()
        self.detr = DeformableDETR(dim)
        self.trajectory_modeling = TrajectoryModeling(dim)
        self.id_decoder = IDDecoder(dim, vocabulary)

    def forward(self, part, frames=None, seq_info=None):
        if part == "detr":
            return self.detr(samples=frames)
        return self.trajectory_modeling(seq_info) if part == "trajectory_modeling" else self.id_decoder(seq_info)


class SetCriterion(nn.Module):
    """Returns losses and the indices of the last layer, as in MOTIP; query n is matched to object n reversed."""

    def __init__(self):
        super().__init__()
        self.weight_dict = {"loss_bbox": 5.0}

    def forward(self, outputs, targets, batch_len=None):
        indices = [(torch.arange(n).flip(0), torch.arange(n)) for n in (len(t["boxes"]) for t in targets)]
        pairs = enumerate(zip(indices, targets, strict=True))
        error = [(outputs["pred_boxes"][t, q] - truth["boxes"][g]).abs().mean() for t, ((q, g), truth) in pairs]
        return {"loss_bbox": torch.stack(error).mean()}, indices


class Instances:
    """As in MOTR: fields of equal length; concatenation requires equal sets of fields."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __len__(self):
        return len(next(iter(self.__dict__.values())))

    def __getitem__(self, mask):
        return Instances(**{name: value[mask] for name, value in self.__dict__.items()})

    @staticmethod
    def cat(parts):
        names = list(parts[0].__dict__)
        assert all(list(part.__dict__) == names for part in parts)
        return Instances(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


class QueryInteraction(nn.Module):
    """MOTR's QIM: selects active tracks, updates their queries and appends the empty ones."""

    def __init__(self, dim):
        super().__init__()
        self.linear, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)

    def forward(self, data):
        tracks = data["track_instances"]
        active = tracks[(tracks.obj_idxes >= 0) & ((tracks.iou > 0.0) if self.training else True)]
        position, content = active.query_pos.chunk(2, 1)
        content = self.norm(content + self.linear(active.output_embedding))
        active.query_pos = torch.cat([position, content], 1)
        active.ref_pts = active.pred_boxes[:, :2].detach().clone()
        return Instances.cat([data["init_track_instances"], active])


class ClipMatcher(nn.Module):
    """MOTR's criterion: matches frame by frame; tracks keep their object, and free queries take new ones."""

    def __init__(self):
        super().__init__()
        self.weight_dict = {"loss_bbox": 5.0}

    def initialize_for_single_clip(self, gt_instances):
        self.gt_instances, self._current_frame_idx, self.losses_dict = gt_instances, 0, {}

    def _step(self):
        self._current_frame_idx += 1

    def match_for_single_frame(self, outputs):
        tracks, truth = outputs["track_instances"], self.gt_instances[self._current_frame_idx]
        rows = {int(name): row for row, name in enumerate(truth.obj_ids)}
        tracks.matched_gt_idxes = torch.tensor([rows.get(int(name), -1) for name in tracks.obj_idxes])
        free = [row for name, row in rows.items() if name not in tracks.obj_idxes.tolist()]
        for slot, row in zip((tracks.obj_idxes < 0).nonzero()[:, 0].tolist(), free, strict=False):
            tracks.obj_idxes[slot], tracks.matched_gt_idxes[slot] = truth.obj_ids[row], row
        matched = tracks.matched_gt_idxes >= 0
        error = tracks.pred_boxes[matched] - truth.boxes[tracks.matched_gt_idxes[matched]]
        tracks.iou = torch.where(matched, 0.8, 0.0)
        self.losses_dict[f"frame_{self._current_frame_idx}_loss_bbox"] = error.abs().mean()
        self.weight_dict[f"frame_{self._current_frame_idx}_loss_bbox"] = 5.0
        self._step()
        return tracks

    def forward(self, outputs, input_data):
        return dict(outputs.pop("losses_dict"))


class TrackBase:
    def __init__(self):
        self.max_obj_id = 0

    def clear(self):
        self.max_obj_id = 0

    def update(self, tracks):
        for slot in range(len(tracks)):
            seen = slot % 3 == 0
            if tracks.obj_idxes[slot] == -1 and seen:
                tracks.obj_idxes[slot] = self.max_obj_id
                self.max_obj_id += 1
            if tracks.obj_idxes[slot] >= 0:
                tracks.disappear_time[slot] = 0 if seen else tracks.disappear_time[slot] + 1


class MOTR(Detector):
    def __init__(self, dim=32):
        super().__init__(dim, cross_self=True)
        self.track_embed, self.criterion, self.track_base = QueryInteraction(dim), ClipMatcher(), TrackBase()

    def clear(self):
        self.track_base.clear()

    def _generate_empty_tracks(self):
        weight = self.query_embed.weight
        n, dim = len(weight), weight.shape[1] // 2
        empty = torch.full((n,), -1)
        return Instances(
            ref_pts=self.transformer.reference_points(weight[:, :dim]).sigmoid(), query_pos=weight,
            output_embedding=torch.zeros(n, dim), obj_idxes=empty, matched_gt_idxes=empty.clone(),
            disappear_time=torch.zeros(n, dtype=torch.int64), iou=torch.zeros(n), pred_boxes=torch.zeros(n, 4),
            pred_logits=torch.zeros(n, 1),
        )  # fmt: skip

    def _forward_single_image(self, samples, track_instances):
        srcs, masks, pos = self.pyramid(samples)
        hs, init_reference, inter_references, _, _ = self.transformer(
            srcs, masks, pos, track_instances.query_pos, ref_pts=track_instances.ref_pts
        )
        return self.heads(hs, init_reference, inter_references) | {"hs": hs[-1]}

    def _post_process_single_image(self, frame_res, track_instances, is_last):
        track_instances.pred_logits = frame_res["pred_logits"][0]
        track_instances.pred_boxes = frame_res["pred_boxes"][0]
        track_instances.output_embedding = frame_res["hs"][0]
        if self.training:
            frame_res["track_instances"] = track_instances
            track_instances = self.criterion.match_for_single_frame(frame_res)
        else:
            self.track_base.update(track_instances)
        tmp = {"init_track_instances": self._generate_empty_tracks(), "track_instances": track_instances}
        frame_res["track_instances"] = None if is_last else self.track_embed(tmp)
        return frame_res

    def inference_single_image(self, samples, track_instances=None):
        if track_instances is None:
            track_instances = self._generate_empty_tracks()
        result = self._forward_single_image(samples, track_instances)
        return self._post_process_single_image(result, track_instances, False)

    def forward(self, data):
        self.criterion.initialize_for_single_clip(data["gt_instances"])
        outputs, track_instances = {"pred_boxes": []}, self._generate_empty_tracks()
        for number, frame in enumerate(data["imgs"]):
            result = self._forward_single_image(frame, track_instances)
            result = self._post_process_single_image(result, track_instances, number == len(data["imgs"]) - 1)
            track_instances = result["track_instances"]
            outputs["pred_boxes"].append(result["pred_boxes"])
        outputs["losses_dict"] = self.criterion.losses_dict
        return outputs


class FPN(nn.Module):
    """Three feature maps of equal width at strides 8, 16 and 32."""

    def __init__(self, dim):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, dim, 3, stride, 1) for stride in (8, 16, 32))

    def forward(self, images):
        return tuple(level(images).relu() for level in self.levels)


class DenseHead(nn.Module):
    """As in YOLOX: cells of all levels in one axis, boxes in pixels, several cells assigned to one object."""

    def __init__(self, dim, embed_dim):
        super().__init__()
        self.reg_preds, self.obj_preds = nn.Conv2d(dim, 4, 1), nn.Conv2d(dim, 1, 1)
        self.embed_preds = nn.Conv2d(dim, embed_dim, 1)

    def forward(self, xin, labels=None, imgs=None):
        flat = [
            torch.cat([one(x).flatten(2).transpose(1, 2) for x in xin], 1)
            for one in (self.reg_preds, self.obj_preds, self.embed_preds)
        ]
        size = torch.tensor([imgs.shape[3], imgs.shape[2]] * 2)
        outputs = torch.cat([flat[0].sigmoid() * size, flat[1]], -1)
        if not self.training:
            return outputs, flat[2]
        return self.get_losses(imgs, labels, outputs, flat[2])

    @torch.no_grad()
    def get_assignments(self, batch_idx, num_gt, gt_bboxes_per_image, bboxes_preds_per_image):
        """Assign 3 cells to each object, from all levels, with different overlaps."""
        fg_mask = torch.zeros(len(bboxes_preds_per_image), dtype=torch.bool)
        fg_mask[torch.linspace(0, len(fg_mask) - 1, 3 * num_gt).long()] = True
        matched_gt_inds = torch.arange(num_gt).repeat_interleave(3)
        pred_ious_this_matching = torch.tensor([0.6, 0.9, 0.7]).repeat(num_gt)
        gt_matched_classes = torch.zeros(3 * num_gt)
        return gt_matched_classes, fg_mask, pred_ious_this_matching, matched_gt_inds, 3 * num_gt

    def get_losses(self, imgs, labels, outputs, embeddings):
        losses = []
        for batch_idx, boxes in enumerate(labels):
            _, fg_mask, _, matched, _ = self.get_assignments(batch_idx, len(boxes), boxes, outputs[batch_idx, :, :4])
            losses.append((outputs[batch_idx, fg_mask, :4] - boxes[matched]).abs().mean() / 100)
        return torch.stack(losses).mean()


class DenseDetector(nn.Module):
    """Backbone with a pyramid, and a dense head; returns a dictionary with "total_loss" in training, as YOLOX."""

    def __init__(self, dim=32, embed_dim=32):
        super().__init__()
        self.backbone, self.head = FPN(dim), DenseHead(dim, embed_dim)

    def forward(self, x, targets=None):
        fpn_outs = self.backbone(x)
        if not self.training:
            return self.head(fpn_outs, imgs=x)
        loss = self.head(fpn_outs, targets, x)
        return {"total_loss": loss, "iou_loss": loss}
