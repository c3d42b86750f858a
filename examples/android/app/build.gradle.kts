plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.pocketcxr.example"
    compileSdk = 35
    defaultConfig {
        applicationId = "org.pocketcxr.example"
        minSdk = 28 // ImageDecoder
        targetSdk = 35
        versionCode = 1
        versionName = "1"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
    sourceSets {
        getByName("main").assets.srcDir(layout.buildDirectory.dir("bundle"))
        getByName("test").kotlin.srcDir("src/sharedTest/kotlin")
        getByName("androidTest").kotlin.srcDir("src/sharedTest/kotlin")
        getByName("androidTest").assets.srcDir("../../reference")
    }
}

// Another bundle: gradle assembleDebug -Pbundle=/path/to/student.onnx
val bundle = providers.gradleProperty("bundle").map { files(it) }
    .orElse(fileTree("../../../src/pocketcxr/bundle/weights") { include("*.onnx") })
val copyBundle = tasks.register<Copy>("copyBundle") {
    from(bundle)
    into(layout.buildDirectory.dir("bundle"))
    rename { "student.onnx" }
}
tasks.named("preBuild") { dependsOn(copyBundle) }

dependencies {
    implementation("androidx.activity:activity-ktx:1.9.3")
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0")
    testImplementation("junit:junit:4.13.2")
    testImplementation("org.json:json:20240303") // the platform's own is a stub in unit tests
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("androidx.test.ext:junit:1.2.1")
}
