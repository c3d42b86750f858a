package org.pocketcxr.example

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** The whole way on a phone: its decoder, its processor, the bundle that the app brings. */
@RunWith(AndroidJUnit4::class)
class StudentTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val reference = ReferenceSet { instrumentation.context.assets.open(it).use { file -> file.readBytes() } }
    private val student =
        Student(instrumentation.targetContext.assets.open("student.onnx").use { it.readBytes() })

    @Test
    fun answersAreThoseOfTheReferenceSet() {
        assertEquals(reference.manifest.title, student.manifest.title)
        val pictures = reference.pictures { !it.endsWith(".dcm") && "in-12" !in it && "16-bit" !in it }
        val faults = pictures.flatMap { (name, checks) ->
            val picture = pictureOf(decode(reference.file(name)))
            val outputs by lazy { student.run(resize(picture, student.manifest.size, student.manifest.aspect)) }
            checks.mapNotNull { check ->
                when (check.step) {
                    "grey" -> reference.fault(check, picture.grey)
                    "refusals" -> reference.fault(check, refusals(picture))
                    "probabilities" -> reference.fault(check, outputs.probabilities)
                    "novelty" -> reference.fault(check, floatArrayOf(outputs.novelty))
                    "input_kind" -> reference.fault(check, requireNotNull(outputs.inputKind))
                    "decision" -> student.predict(picture).let { reference.fault(check, listOf(it.decision) + it.reasons) }
                    else -> null
                }
            }
        }
        assertEquals(emptyList<String>(), faults)
        assertTrue(pictures.size >= 12)
    }

    @Test
    fun aPngOf16BitsIsRefused() {
        val fault = runCatching { decode(reference.file("grey-16-bit.png")) }.exceptionOrNull()
        assertTrue(fault is IllegalArgumentException)
    }
}
