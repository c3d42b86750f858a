/** One screen: choose a picture, see what the student says of it. */
package org.pocketcxr.example

import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import java.nio.ByteBuffer
import kotlin.concurrent.thread

class MainActivity : ComponentActivity() {
    private val student by lazy { Student(assets.open("student.onnx").use { it.readBytes() }) }
    private lateinit var image: ImageView
    private lateinit var result: TextView

    private val choose = registerForActivityResult(ActivityResultContracts.GetContent()) { uri -> uri?.let(::score) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        image = ImageView(this)
        result = TextView(this).apply { textSize = 18f }
        val column = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            setPadding(48, 96, 48, 48)
        }
        column.addView(TextView(this).apply { text = getString(R.string.warning) })
        column.addView(Button(this).apply {
            text = getString(R.string.choose)
            setOnClickListener { choose.launch("image/*") }
        })
        column.addView(image, LinearLayout.LayoutParams(MATCH_PARENT, 0, 1f))
        column.addView(result, LinearLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT))
        setContentView(column)
    }

    private fun score(uri: Uri) {
        thread {
            val (bitmap, text) = try {
                val bytes = contentResolver.openInputStream(uri).use { requireNotNull(it).readBytes() }
                val bitmap = decode(bytes)
                bitmap to words(student.predict(pictureOf(bitmap)))
            } catch (error: Exception) { // decoders and the runtime raise many kinds; none must show a result
                null to getString(R.string.not_scored, error.message ?: error.javaClass.simpleName)
            }
            runOnUiThread {
                image.setImageBitmap(bitmap)
                result.text = text
            }
        }
    }

    private fun words(answer: Answer): String = buildString {
        appendLine((listOf(answer.decision) + answer.reasons).joinToString(", "))
        answer.probabilities.forEach { (label, probability) -> appendLine("%s %.3f".format(label, probability)) }
        append(student.manifest.title)
    }
}

/**
 * Decode PNG or JPEG upright, with samples as they are stored. ImageDecoder, unlike BitmapFactory, refuses half a file.
 * Platform decoders keep eight bits, so a PNG of 16 bits is refused rather than read with another grey scale.
 */
fun decode(bytes: ByteArray): Bitmap {
    val isPng = bytes.size > 24 && bytes[0] == 0x89.toByte() && bytes[1] == 'P'.code.toByte()
    require(!isPng || bytes[24] <= 8) { "a PNG of 16 bits; export it with 8" }
    return ImageDecoder.decodeBitmap(ImageDecoder.createSource(ByteBuffer.wrap(bytes))) { decoder, info, _ ->
        require(info.mimeType in setOf("image/png", "image/jpeg")) { "expected PNG or JPEG, found ${info.mimeType}" }
        decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
        decoder.isUnpremultipliedRequired = true
    }
}

/** The bitmap's own samples; `Bitmap.getPixels` would convert them to sRGB. */
fun pictureOf(bitmap: Bitmap): Picture {
    require(bitmap.config == Bitmap.Config.ARGB_8888) { "expected 8 bits per sample, found ${bitmap.config}" }
    val rgba = ByteBuffer.allocate(bitmap.byteCount)
    bitmap.copyPixelsToBuffer(rgba)
    return pictureOf(rgba.array(), bitmap.width, bitmap.height)
}
