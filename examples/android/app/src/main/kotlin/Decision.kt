/** What a bundle's manifest says, and the decision that follows from the network's outputs. */
package org.pocketcxr.example

import org.json.JSONArray
import org.json.JSONObject

/** The learned input filter: a picture whose probability of the kind `accept` is below `threshold` is refused. */
class InputFilter(val kinds: List<String>, val accept: String, val threshold: Double)

class Manifest(
    val title: String,
    val labels: List<String>,
    val size: Int,
    val aspect: String,
    val conformalQuantile: Double,
    val inputFilter: InputFilter?,
) {
    companion object {
        /** Read the text of `pocketcxr.manifest`; a bundle that this example does not understand is refused. */
        fun parse(text: String): Manifest {
            val json = JSONObject(text)
            require(json.getInt("format_version") <= 3 && !json.has("findings")) {
                "expected a bundle of one class per image, up to format version 3"
            }
            val preprocessing = json.getJSONObject("preprocessing")
            require(
                preprocessing.getString("resampling") == "triangle-antialias" &&
                    preprocessing.getString("polarity") == "MONOCHROME2",
            ) { "unknown preprocessing: $preprocessing" }
            val filter = json.optJSONObject("input_gate")?.let {
                InputFilter(it.getJSONArray("kinds").strings(), it.getString("accept"), it.getDouble("threshold"))
            }
            return Manifest(
                title = "${json.getString("name")} ${json.getString("version")}",
                labels = json.getJSONArray("labels").strings(),
                size = preprocessing.getInt("size"),
                aspect = preprocessing.getString("aspect"),
                conformalQuantile = json.getDouble("conformal_quantile"),
                inputFilter = filter,
            )
        }

        private fun JSONArray.strings() = List(length()) { getString(it) }
    }
}

/** Outputs for one picture; `inputKind` only of bundles with an input filter. */
class Outputs(val probabilities: FloatArray, val novelty: Float, val inputKind: FloatArray?)

/** `decision` is a label, "uncertain" or "refused"; a refused picture has no probabilities. */
class Answer(val decision: String, val reasons: List<String>, val probabilities: Map<String, Float> = emptyMap())

/** Step 7, after the input checks of step 4. */
fun decide(outputs: Outputs, manifest: Manifest): Answer {
    val reasons = mutableListOf<String>()
    manifest.inputFilter?.let { filter ->
        val kinds = filter.kinds.zip(requireNotNull(outputs.inputKind).toList())
        val accepted = kinds.first { it.first == filter.accept }.second
        if (!(accepted >= filter.threshold)) {
            reasons += kinds.filter { it.first != filter.accept }.maxBy { it.second }.first
        }
    }
    if (!outputs.probabilities.all(Float::isFinite) || !(outputs.novelty <= 1f)) reasons += "novel"
    if (reasons.isNotEmpty()) return Answer("refused", reasons)

    val probabilities = manifest.labels.zip(outputs.probabilities.toList()).toMap()
    val possible = probabilities.filterValues { it >= 1 - manifest.conformalQuantile }.keys
    return when (possible.size) {
        1 -> Answer(possible.first(), emptyList(), probabilities)
        0 -> Answer("uncertain", listOf("no-class"), probabilities)
        else -> Answer("uncertain", listOf("several-classes"), probabilities)
    }
}
