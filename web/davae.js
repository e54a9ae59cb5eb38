// Shows the sentence of a DA-VAE node that failed, of which newer pages of ComfyUI say only that it did, and warnings.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const OURS = "DAVAE_";
const SHOWN_MS = 30000;

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
      if (kind?.startsWith(OURS) && sentence) show(kind.slice(OURS.length), sentence);
    }
  }
}

app.registerExtension({
  name: "davae.errors",
  setup() {
    api.addEventListener("execution_error", ({ detail }) => {
      if (detail?.node_type?.startsWith(OURS)) {
        show(detail.node_type.slice(OURS.length), String(detail.exception_message).trim());
      }
    });
    api.addEventListener("davae.warning", ({ detail }) => show("DA-VAE", detail.text, "warn"));
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
