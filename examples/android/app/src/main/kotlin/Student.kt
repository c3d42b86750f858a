/** A bundle in ONNX Runtime. */
package org.pocketcxr.example

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.nio.FloatBuffer
import java.security.MessageDigest

class Student(bundle: ByteArray) {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession
    val manifest: Manifest

    init {
        checkHash(bundle)
        session = environment.createSession(bundle, OrtSession.SessionOptions())
        val text = session.metadata.customMetadata["pocketcxr.manifest"]
        manifest = Manifest.parse(requireNotNull(text) { "an ONNX model without a manifest" })
    }

    /** Check, score and decide. */
    fun predict(picture: Picture): Answer {
        val codes = refusals(picture)
        if (codes.isNotEmpty()) return Answer("refused", codes)
        return decide(run(resize(picture, manifest.size, manifest.aspect)), manifest)
    }

    /** Step 6: the network's outputs for an input of `size` x `size` pixels. */
    fun run(input: FloatArray): Outputs {
        val side = manifest.size.toLong()
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(input), longArrayOf(1, 1, side, side)).use { tensor ->
            session.run(mapOf("image" to tensor)).use { result ->
                fun row(name: String) = (result.get(name).get().value as Array<*>)[0] as FloatArray
                return Outputs(
                    probabilities = row("probabilities"),
                    novelty = (result.get("novelty").get().value as FloatArray)[0],
                    inputKind = manifest.inputFilter?.let { row("input_kind") },
                )
            }
        }
    }

    private fun checkHash(bundle: ByteArray) {
        val trailer = 86 // the last entry of the file; its last 64 bytes are the hash
        require(bundle.size > trailer) { "no bundle" }
        val digest = MessageDigest.getInstance("SHA-256").apply { update(bundle, 0, bundle.size - trailer) }.digest()
        val stated = String(bundle, bundle.size - 64, 64, Charsets.US_ASCII)
        require(stated == digest.joinToString("") { "%02x".format(it) }) {
            "no bundle, or changed after it was sealed (its SHA-256 does not fit)"
        }
    }
}
