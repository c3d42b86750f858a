/** The reference set of the preprocessing (docs/reference/preprocessing.md), wherever its files are. */
package org.pocketcxr.example

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

/** One line of the table. */
class Check(cells: List<String>) {
    val picture = cells[0]
    val step = cells[1]
    val height = cells[2].toInt()
    val width = cells[3].toInt()
    val stride = cells[4].toInt()
    val tolerance = cells[5].toFloat()
    val expected = cells[6]

    override fun toString() = "$picture $step"
}

class ReferenceSet(private val open: (String) -> ByteArray) {
    val checks = open("reference.tsv").decodeToString().trim().lines().drop(1).map { Check(it.split('\t')) }
    val manifest = Manifest.parse(open("manifest.json").decodeToString())

    /** Lines of the pictures for which `wanted` holds, by picture. */
    fun pictures(wanted: (String) -> Boolean): Map<String, List<Check>> =
        checks.filter { it.picture != "-" && wanted(it.picture) }.groupBy { it.picture }

    fun file(picture: String): ByteArray = open("pictures/$picture")

    /** Numbers that a line expects, from the line itself or from the file that it names. */
    fun numbers(check: Check): FloatArray {
        if (!check.expected.startsWith("expected/")) return check.expected.split(' ').map(String::toFloat).toFloatArray()
        val floats = ByteBuffer.wrap(open(check.expected)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(floats.remaining()).also(floats::get)
    }

    /** What the line says of a difference beyond its tolerance, or null where there is none. */
    fun fault(check: Check, found: FloatArray): String? {
        val kept = if (check.width == 0) {
            found.toList()
        } else {
            if (found.size != check.height * check.width) return "$check: ${found.size} values"
            (0 until check.height step check.stride).flatMap { y ->
                (0 until check.width step check.stride).map { x -> found[y * check.width + x] }
            }
        }
        val expected = numbers(check)
        if (kept.size != expected.size) return "$check: expected ${expected.size} values, found ${kept.size}"
        val largest = kept.indices.maxOf { abs(kept[it] - expected[it]) }
        return if (largest <= check.tolerance) null else "$check: off by $largest, tolerance ${check.tolerance}"
    }

    fun fault(check: Check, found: List<String>): String? {
        val words = found.joinToString(" ").ifEmpty { "-" }
        return if (words == check.expected) null else "$check: expected ${check.expected}, found $words"
    }
}
