// Shows the sentence of a DA-VAE node that failed, of which newer pages of ComfyUI say only that it did, and warnings;
// hides the widgets of DA-VAE Decode that mean nothing in its mode.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const OURS = "DAVAE_";
const NAME = "DA-VAE";
const SHOWN_MS = 30000;
const TILED = "tiled";
const TILES = ["tile_size", "overlap"];

function titleOf(kind) {
  return window.LiteGraph?.registered_node_types?.[kind]?.title ?? kind.slice(OURS.length);
}

function show(node, sentence, severity = "error") {
  app.extensionManager?.toast?.add({
    severity,
    summary: node,
    detail: sentence,
    life: SHOWN_MS,
  });
}

function showRefusals(nodeErrors) {
  for (const { class_type: kind, errors } of Object.values(nodeErrors ?? {})) {
    // ComfyUI gives a node's own check on as "input - sentence", once for every input.
    const sentences = errors.map((error) => error.details.split(" - ").slice(1).join(" - "));
    for (const sentence of new Set(sentences)) {
      if (kind?.startsWith(OURS) && sentence) show(titleOf(kind), sentence);
    }
  }
}

function showTilesWhereTheyCount(node) {
  const mode = node.widgets?.find((widget) => widget.name === "mode");
  const tiles = node.widgets?.filter((widget) => TILES.includes(widget.name)) ?? [];
  if (!mode || !tiles.length) return;
  const show = () => {
    const linked = node.inputs?.some((input) => input.name === "mode" && input.link != null);
    for (const widget of tiles) {
      widget.hidden = !linked && mode.value !== TILED;
      widget.options.hidden = widget.hidden;
    }
    const needed = node.computeSize()[1];
    if (needed > node.size[1]) node.setSize([node.size[0], needed]);
    app.graph?.setDirtyCanvas(true, true);
  };
  for (const [owner, happening] of [
    [mode, "callback"],
    [node, "onConfigure"],
    [node, "onConnectionsChange"],
  ]) {
    const before = owner[happening];
    owner[happening] = function (...given) {
      const answer = before?.apply(this, given);
      show();
      return answer;
    };
  }
  show();
}

app.registerExtension({
  name: "davae.page",
  nodeCreated(node) {
    if (node.comfyClass === `${OURS}Decode`) showTilesWhereTheyCount(node);
  },
  setup() {
    api.addEventListener("execution_error", ({ detail }) => {
      const sentence = String(detail?.exception_message ?? "").trim();
      // A node behind an output of ours that gives nothing fails with our sentence.
      const blocked = detail?.exception_type === "ExecutionBlocked" && sentence.includes(NAME);
      if (detail?.node_type?.startsWith(OURS)) show(titleOf(detail.node_type), sentence);
      else if (blocked) show(NAME, sentence);
    });
    api.addEventListener("davae.warning", ({ detail }) => show(NAME, detail.text, "warn"));
    const queuePrompt = api.queuePrompt;
    api.queuePrompt = async function (...given) {
      try {
        return await queuePrompt.apply(this, given);
      } catch (error) {
        showRefusals(error?.response?.node_errors);
        throw error;
      }
    };
  },
});
