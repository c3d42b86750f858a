/** From decoded samples to the network's input: docs/reference/preprocessing.md, in plain Kotlin. */
package org.pocketcxr.example

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** A picture, upright: grey values row by row, 0 is black and 1 is white; `bits` per sample as stored. */
class Picture(
    val width: Int,
    val height: Int,
    val grey: FloatArray,
    val bits: Int = 8,
    val coloured: Boolean = false,
)

/** Step 3: grey values of red, green, blue, alpha, a byte each; alpha has not been multiplied in. */
fun pictureOf(rgba: ByteArray, width: Int, height: Int): Picture {
    val grey = FloatArray(width * height)
    var coloured = 0
    for (i in grey.indices) {
        val red = rgba[4 * i].toInt() and 0xFF
        val green = rgba[4 * i + 1].toInt() and 0xFF
        val blue = rgba[4 * i + 2].toInt() and 0xFF
        val spread = maxOf(red, green, blue) - minOf(red, green, blue)
        if (spread > 16) coloured++
        val value = if (spread == 0) red / 255f else min(1f, (0.299f * red + 0.587f * green + 0.114f * blue) / 255f)
        grey[i] = value * ((rgba[4 * i + 3].toInt() and 0xFF) / 255f)
    }
    return Picture(width, height, grey, coloured = coloured > 0.01 * grey.size)
}

/** Step 4: the 99th percentile minus the 1st. */
fun contrast(picture: Picture): Float {
    val step = max(1, ceil(sqrt(picture.grey.size / 65536.0)).toInt())
    val sorted = (0 until picture.height step step).flatMap { y ->
        (0 until picture.width step step).map { x -> picture.grey[y * picture.width + x] }
    }.toFloatArray()
    sorted.sort()
    fun percentile(part: Double): Double {
        val rank = part * (sorted.size - 1)
        val below = rank.toInt()
        val above = min(below + 1, sorted.size - 1)
        return sorted[below] + (sorted[above].toDouble() - sorted[below]) * (rank - below)
    }
    return (percentile(0.99) - percentile(0.01)).toFloat()
}

/** Step 4: codes of all reasons against scoring the picture. */
fun refusals(picture: Picture): List<String> = buildList {
    val shorter = min(picture.width, picture.height)
    if (shorter < 96) add("too-small")
    if (max(picture.width, picture.height) > 2.5 * shorter) add("aspect")
    val found = contrast(picture)
    when {
        picture.bits > 8 && picture.grey.max() - picture.grey.min() < 0.1f -> add("low-contrast")
        found < 0.02f -> add("blank")
        found < 0.12f -> add("low-contrast")
    }
    if (picture.coloured) add("coloured")
}

/** Step 5: to `size` x `size` pixels, row by row. */
fun resize(picture: Picture, size: Int, aspect: String): FloatArray {
    var height = size
    var width = size
    if (aspect == "pad") {
        val longest = max(picture.width, picture.height).toDouble()
        height = max(1, floor(picture.height * size / longest + 0.5).toInt())
        width = max(1, floor(picture.width * size / longest + 0.5).toInt())
    } else {
        require(aspect == "squash") { "aspect: expected squash or pad, found $aspect" }
    }
    val across = resizeAxis(picture.grey, picture.height, picture.width, width) // [width, picture.height]
    val inner = resizeAxis(across, width, picture.height, height) // [height, width]
    val canvas = FloatArray(size * size)
    val top = (size - height) / 2
    val left = (size - width) / 2
    for (y in 0 until height) {
        for (x in 0 until width) canvas[(top + y) * size + left + x] = inner[y * width + x].coerceIn(0f, 1f)
    }
    return canvas
}

/** Resize lines of `from` pixels to `to` pixels and transpose, so that two calls do both axes. */
private fun resizeAxis(pixels: FloatArray, lines: Int, from: Int, to: Int): FloatArray {
    val resized = FloatArray(to * lines)
    val scale = from.toDouble() / to
    val reach = max(scale, 1.0)
    for (i in 0 until to) {
        val centre = (i + 0.5) * scale
        val first = max(0, floor(centre - reach + 0.5).toInt())
        val last = min(from, floor(centre + reach + 0.5).toInt())
        val weights = DoubleArray(last - first) { max(0.0, 1 - abs(first + it + 0.5 - centre) / reach) }
        val total = weights.sum()
        for (line in 0 until lines) {
            var sum = 0.0
            for (k in weights.indices) sum += weights[k] * pixels[line * from + first + k]
            resized[i * lines + line] = (sum / total).toFloat()
        }
    }
    return resized
}
