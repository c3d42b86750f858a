package org.pocketcxr.example

import java.awt.image.BufferedImage
import java.io.File
import javax.imageio.ImageIO
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Every step but the network, on this computer; its decoder stands for the phone's. */
class PreprocessingTest {
    private val folder = File(System.getProperty("reference") ?: "../../reference")
    private val reference = ReferenceSet { folder.resolve(it).readBytes() }

    // 16 bits are refused by this port; DICOM is not read by it
    private val pictures = reference.pictures { !it.endsWith(".dcm") && "in-12" !in it && "16-bit" !in it }

    @Test
    fun everyStepIsWithinItsTolerance() {
        val faults = pictures.flatMap { (name, checks) ->
            val picture = decoded(name)
            checks.mapNotNull { check ->
                when (check.step) {
                    "grey" -> reference.fault(check, picture.grey)
                    "contrast" -> reference.fault(check, floatArrayOf(contrast(picture)))
                    "refusals" -> reference.fault(check, refusals(picture))
                    "squash-32" -> reference.fault(check, resize(picture, 32, "squash"))
                    "pad-48" -> reference.fault(check, resize(picture, 48, "pad"))
                    "input" -> reference.fault(check, resize(picture, reference.manifest.size, reference.manifest.aspect))
                    else -> null
                }
            }
        }
        assertEquals(emptyList<String>(), faults)
        assertTrue(pictures.size >= 12)
    }

    @Test
    fun decisionsFollowFromTheOutputsThatTheSetLists() {
        var compared = 0
        for ((name, checks) in pictures) {
            val byStep = checks.associateBy { it.step }
            val decision = byStep["decision"] ?: continue
            val codes = refusals(decoded(name))
            val answer = if (codes.isNotEmpty()) Answer("refused", codes) else decide(outputs(byStep), reference.manifest)
            assertEquals(null, reference.fault(decision, listOf(answer.decision) + answer.reasons))
            compared++
        }
        assertTrue(compared >= 10)
    }

    @Test
    fun aPictureWithTwoPossibleClassesIsUncertain() {
        val manifest = Manifest("", listOf("a", "b", "c"), 224, "squash", 0.7, null)
        val several = decide(Outputs(floatArrayOf(0.5f, 0.4f, 0.1f), 0.5f, null), manifest)
        assertEquals(listOf("uncertain", "several-classes"), listOf(several.decision) + several.reasons)
        val none = decide(Outputs(floatArrayOf(0.28f, 0.27f, 0.25f), 0.5f, null), manifest)
        assertEquals(listOf("uncertain", "no-class"), listOf(none.decision) + none.reasons)
        val unlike = decide(Outputs(floatArrayOf(0.9f, 0.1f, Float.NaN), 0.5f, null), manifest)
        assertEquals("refused" to emptyMap<String, Float>(), unlike.decision to unlike.probabilities)
    }

    private fun outputs(checks: Map<String, Check>) = Outputs(
        probabilities = reference.numbers(checks.getValue("probabilities")),
        novelty = reference.numbers(checks.getValue("novelty")).single(),
        inputKind = checks["input_kind"]?.let(reference::numbers),
    )

    private fun decoded(name: String): Picture {
        val image = reference.file(name).inputStream().use(ImageIO::read)
        val turned = name == "colour-turned.jpg" // ImageIO, unlike the phone, leaves EXIF orientation 6 to its caller
        val width = if (turned) image.height else image.width
        val height = if (turned) image.width else image.height
        val rgba = ByteArray(width * height * 4)
        for (y in 0 until height) {
            for (x in 0 until width) {
                val sample = if (turned) image.rgba(y, image.height - 1 - x) else image.rgba(x, y)
                for (channel in 0..3) rgba[(y * width + x) * 4 + channel] = sample[channel].toByte()
            }
        }
        return pictureOf(rgba, width, height)
    }

    /** Red, green, blue, alpha; grey samples as stored, which `getRGB` would pass through a colour profile. */
    private fun BufferedImage.rgba(x: Int, y: Int): List<Int> {
        val colours = colorModel.colorSpace.numComponents
        if (colours == 1) {
            val largest = (1 shl colorModel.getComponentSize(0)) - 1
            val grey = raster.getSample(x, y, 0) * 255 / largest
            return listOf(grey, grey, grey, if (colorModel.hasAlpha()) raster.getSample(x, y, 1) else 255)
        }
        val argb = getRGB(x, y)
        return listOf(argb shr 16 and 255, argb shr 8 and 255, argb and 255, argb ushr 24)
    }
}
